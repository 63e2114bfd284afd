// The plan of a run: everything that is drawn from its seed before it begins. Who there is, with which options, and
// what happens when. Leaving out some of what happens leaves the rest as it is: that is how a failure is made small.

import { Chance } from './chance.ts'

export const TOPOLOGIES = ['mesh', 'chain', 'star', 'bridge'] as const
export type Topology = (typeof TOPOLOGIES)[number]

export const KEYS = 7
const CHAOS_MS = 380_000
const QUIET_MS = 260_000

export const ActionKinds = [
  'set',
  'delete',
  'get',
  'increment',
  'touch',
  'clear',
  'flood',
  'cut',
  'cut one way',
  'cut group',
  'heal',
  'heal all',
  'clog',
  'lose',
  'former',
  'crash',
  'crash loop',
  'start',
  'leave',
  'forget',
  'clock jump',
  'clock freeze',
  'clock right',
] as const
export type ActionKind = (typeof ActionKinds)[number]

export interface Action {
  readonly atMs: number
  readonly kind: ActionKind
  /** Machines. */
  readonly node: number
  readonly other: number
  readonly key: number
  /** Uniform in [0, 1): whatever else the action has to choose. */
  readonly x: number
  readonly y: number
}

export interface MachinePlan {
  label: string
  address: string
  peers: string[]
  skewMs: number
  isFuture: boolean
  startsMs: number
}

export interface Plan {
  seed: number
  topology: Topology
  machines: MachinePlan[]
  store: 'heap' | 'arena'
  entriesMax: number
  bytesMax: number
  renewOnHit: boolean
  defaultTtlMs: number
  tickMs: number
  workBudget: number
  silenceMs: number
  duplicates: boolean
  /** The machine that all faults are about; undefined: any. The others must lose nothing. */
  away: number | undefined
  /** Whether servers are written to before they have ever met another: others may not know of them. */
  writesAlone: boolean
  /** Whether something may be forgotten by force. */
  isForced: boolean
  skewMsMax: number
  graceMs: number
  markerRetentionMs: number
  markerBytesMax: number
  windowBytes: number
  pingMs: number
  roundMs: number
  memberForgetMs: number
  refusedRetryMs: number
  actions: Action[]
  /** From here on nothing goes wrong and nothing is written. */
  healMs: number
  endMs: number
}

/** Charge of a marker with a key of two bytes, timed. */
const MARKER_BYTES = 80
const NEVER_MS = 10 * 24 * 3600_000

export function planOf(seed: number, wanted: Topology | undefined): Plan {
  const chance = new Chance(seed)
  const topology = wanted ?? (chance.oneIn(2) ? 'mesh' : chance.pick(TOPOLOGIES))
  const count = topology === 'bridge' ? 3 : chance.pick([2, 3, 3, 3, 3, 3, 4, 4, 5])
  const away = topology !== 'bridge' && count > 2 && chance.oneIn(4) ? chance.below(count) : undefined
  const isForced = topology !== 'bridge' && (away !== undefined || chance.oneIn(2))
  // Fewer messages for the same time: what counts is how the durations stand to each other.
  const pingMs = chance.pick([2000, 3000, 4000])
  const silenceMs = pingMs * 3
  const roundMs = chance.pick([7000, 12_000, 17_000])
  // Longer than a frame can be late, and than the time between two rounds: or markers would go to and fro.
  const graceMs = Math.max(silenceMs + 1000, roundMs * 1.5) + chance.below(10_000)
  const markerRetentionMs = isForced ? graceMs + chance.pick([5000, 20_000, 60_000]) : NEVER_MS
  // Those who stayed connected need room for what is merely on its way.
  const markersMax = !isForced ? 1000 : away === undefined ? chance.pick([2, 3, 4, 6, 50]) : 6
  const mayBeSmall = chance.oneIn(2)
  // Where lists do not name everybody, whoever restarts while another is away does not know of it, and forgets too early;
  // and who is to restart must be clear.
  const isShort = isForced && chance.oneIn(3) && topology === 'mesh' && away !== undefined
  const memberForgetMs = isShort ? Math.max(markerRetentionMs, 60_000) : NEVER_MS
  const plan: Plan = {
    seed,
    topology,
    machines: machinesOf(chance, topology, count, away),
    store: seed % 10 === 0 ? 'arena' : 'heap',
    entriesMax: mayBeSmall ? chance.between(2, KEYS) : 1000,
    bytesMax: mayBeSmall && chance.oneIn(2) ? 2400 : 64 * 1024,
    renewOnHit: chance.oneIn(2),
    defaultTtlMs: chance.oneIn(3) ? chance.between(5000, 60_000) : 0,
    tickMs: chance.pick([600, 1000, 1500]),
    workBudget: chance.pick([1, 3, 100]),
    silenceMs,
    duplicates: chance.oneIn(4),
    away,
    writesAlone: (topology === 'mesh' || topology === 'bridge') && memberForgetMs === NEVER_MS,
    isForced,
    skewMsMax: 5000,
    graceMs,
    markerRetentionMs,
    markerBytesMax: markersMax * MARKER_BYTES,
    windowBytes: chance.pick([300, 2000, 2 * 1024 * 1024]),
    pingMs,
    roundMs,
    memberForgetMs,
    refusedRetryMs: chance.pick([2000, 5000]),
    actions: [],
    healMs: CHAOS_MS,
    endMs: CHAOS_MS + QUIET_MS,
  }
  plan.actions = actionsOf(chance, plan)
  return plan
}

function machinesOf(
  chance: Chance,
  topology: Topology,
  count: number,
  away: number | undefined,
): MachinePlan[] {
  const isNamed = chance.oneIn(2)
  const addressOf = (machine: number) => `10.0.0.${machine}:1`
  const machines: MachinePlan[] = []
  for (let machine = 0; machine < count; machine++) {
    const others = Array.from({ length: count }, (_, other) => other).filter((other) => other !== machine)
    // Whoever is named names back: then whoever restarts knows of somebody who knows, however many restart (strangers).
    const listed = others.filter((other) => {
      if (topology === 'chain') return Math.abs(other - machine) === 1
      return topology !== 'star' || machine === 0 || other === 0
    })
    // Lists may name the server itself.
    if (chance.oneIn(5)) listed.push(machine)
    machines.push({
      label: isNamed ? `n${(machine * 7) % 5}` : addressOf(machine),
      address: addressOf(machine),
      peers: listed.map(addressOf),
      skewMs: chance.between(-2200, 2200),
      isFuture: chance.oneIn(5),
      startsMs: startOf(chance, machine === away, isLeaf(topology, machine, count)),
    })
  }
  if (away !== undefined) for (const machine of machines) machine.startsMs = Math.min(machine.startsMs, 3000)
  return machines
}

/** Whether all others are connected by their lists without this one: two clusters that never met delete each for itself. */
function isLeaf(topology: Topology, machine: number, count: number): boolean {
  if (topology === 'chain') return machine === 0 || machine === count - 1
  return topology !== 'star' || machine !== 0
}

function startOf(chance: Chance, isAway: boolean, mayBeLate: boolean): number {
  const isLate = !isAway && chance.oneIn(4)
  const atMs = chance.below(isLate ? 200_000 : 3000)
  return mayBeLate ? atMs : atMs % 3000
}

/** Weights of what happens. */
const WRITES: readonly (readonly [ActionKind, number])[] = [
  ['set', 40],
  ['delete', 18],
  ['get', 25],
  ['increment', 6],
  ['touch', 5],
  ['clear', 0.4],
  ['flood', 1],
]
const FAULTS: readonly (readonly [ActionKind, number])[] = [
  ['cut', 10],
  ['cut one way', 5],
  ['cut group', 4],
  ['heal', 10],
  ['heal all', 5],
  ['clog', 8],
  ['lose', 12],
  ['former', 6],
  ['crash', 4],
  ['crash loop', 1],
  ['start', 8],
  ['leave', 0.7],
  ['forget', 1.5],
  ['clock jump', 1.5],
  ['clock freeze', 0.7],
  ['clock right', 3],
]

function actionsOf(chance: Chance, plan: Plan): Action[] {
  const actions: Action[] = []
  const count = plan.machines.length
  const writeMs = chance.pick([500, 1500, 3000])
  const faultMs = chance.pick([5000, 10_000, 25_000, 60_000])
  const hasBadClocks = plan.away === undefined && plan.topology !== 'bridge' && chance.oneIn(4)
  const draw = (weights: typeof WRITES, atMs: number) => {
    const kind = weighted(chance, weights)
    const node = chance.below(count)
    const other = (node + 1 + chance.below(Math.max(1, count - 1))) % count
    const action = {
      atMs,
      kind,
      node,
      other,
      key: chance.below(KEYS),
      x: chance.fraction(),
      y: chance.fraction(),
    }
    if (kind.startsWith('clock') && !hasBadClocks) return
    if (weights === FAULTS && plan.away !== undefined) action.node = plan.away
    if (weights === FAULTS && plan.away !== undefined && other === plan.away)
      action.other = (plan.away + 1) % count
    actions.push(action)
  }
  for (let atMs = 1000; atMs < plan.healMs; atMs += 1 + chance.below(2 * writeMs)) draw(WRITES, atMs)
  for (let atMs = 5000; atMs < plan.healMs; atMs += 1 + chance.below(2 * faultMs)) draw(FAULTS, atMs)
  return actions.sort((one, other) => one.atMs - other.atMs)
}

function weighted(chance: Chance, weights: typeof WRITES): ActionKind {
  let total = 0
  for (const [, weight] of weights) total += weight
  let left = chance.fraction() * total
  for (const [kind, weight] of weights) {
    left -= weight
    if (left < 0) return kind
  }
  return 'get'
}
