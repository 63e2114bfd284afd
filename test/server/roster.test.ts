// Who is there.

import { describe, expect, test } from 'vitest'
import { Roster } from '../../server/roster.ts'
import { randomFrom } from './store/random.ts'

interface Guest {
  name: number
  rosterIndex: number
}

function guest(name: number): Guest {
  return { name, rosterIndex: -1 }
}

function names(roster: Roster<Guest>): number[] {
  return Array.from(roster, ({ name }) => name).sort((a, b) => a - b)
}

describe('a roster', () => {
  test('holds who came and has not left, whatever the order', () => {
    const random = randomFrom(5)
    const roster = new Roster<Guest>()
    const present = new Map<number, Guest>()
    for (let name = 0; name < 2000; name++) {
      const come = guest(name)
      roster.add(come)
      present.set(name, come)
      const leaving = [...present.values()][random.below(present.size * 2)]
      if (leaving !== undefined) {
        roster.remove(leaving)
        roster.remove(leaving)
        present.delete(leaving.name)
      }
      expect(roster.size).toBe(present.size)
    }
    expect(names(roster)).toEqual([...present.keys()])
    for (const member of present.values()) roster.remove(member)
    expect([roster.size, names(roster)]).toEqual([0, []])
  })

  test('whoever left may come again', () => {
    const roster = new Roster<Guest>()
    const [a, b] = [guest(1), guest(2)]
    roster.add(a)
    roster.add(b)
    roster.remove(a)
    roster.add(a)
    expect(names(roster)).toEqual([1, 2])
  })
})

describe('while it is walked through', () => {
  const filled = () => {
    const roster = new Roster<Guest>()
    const guests = [0, 1, 2, 3, 4].map(guest)
    for (const each of guests) roster.add(each)
    return { roster, guests }
  }

  test('each may leave as it is visited', () => {
    const { roster } = filled()
    const visited = new Set<number>()
    for (const member of roster) {
      visited.add(member.name)
      roster.remove(member)
    }
    expect([visited.size, roster.size]).toEqual([5, 0])
  })

  test('all others may leave, and are not visited then', () => {
    const { roster, guests } = filled()
    const visited: number[] = []
    for (const member of roster) {
      visited.push(member.name)
      for (const other of guests) if (other !== member) roster.remove(other)
    }
    expect(visited[0]).toBe(4)
    expect(new Set(visited).size).toBe(1)
  })

  test('who stays is visited, whoever else leaves', () => {
    for (let leaving = 0; leaving < 5; leaving++) {
      const { roster, guests } = filled()
      const visited = new Set<number>()
      for (const member of roster) {
        if (visited.size === 0) for (const each of guests) if (each.name === leaving) roster.remove(each)
        visited.add(member.name)
      }
      for (const each of guests) if (each.name !== leaving) expect(visited).toContain(each.name)
    }
  })

  test('who comes is not visited', () => {
    const { roster } = filled()
    let visits = 0
    for (const member of roster) {
      visits++
      roster.add(guest(100 + member.name))
    }
    expect([visits, roster.size]).toEqual([5, 10])
  })
})
