// Addresses of other servers: whose they are, which were listed, and which lead to this server itself.
//
// Between the mesh, which dials them and learns who answers, and the members, which say where they listen. What a member
// says may be wrong (behind a tunnel, everybody is at the same loopback address); who answered somewhere is certain.

import type { Members } from './replication/members.ts'

export class AddressBook {
  readonly #members: Members
  /** By address: the label of whoever answered there. */
  readonly #labels = new Map<string, string>()
  readonly #own = new Set<string>()
  readonly #listed = new Set<string>()

  constructor(members: Members) {
    this.#members = members
  }

  /** It counts as a member before it was ever reached. */
  list(address: string): void {
    this.#listed.add(address)
  }

  unlist(address: string): void {
    this.#listed.delete(address)
  }

  /** It leads to this server itself. */
  own(address: string): void {
    this.#own.add(address)
  }

  isOwn(address: string): boolean {
    return this.#own.has(address)
  }

  learn(address: string, label: string): void {
    this.#labels.set(address, label)
  }

  /** Who answered there. */
  answeredAt(address: string): string | undefined {
    return this.#labels.get(address)
  }

  /** Where the server with this label answered. */
  addressesOf(label: string): string[] {
    return [...this.#labels].filter(([, known]) => known === label).map(([address]) => address)
  }

  /** Who answered there, or else was linked and says to listen there; a listed address is to be dialed to learn that. */
  labelAt(address: string): string | undefined {
    const label = this.#labels.get(address)
    if (label !== undefined || this.#listed.has(address)) return label
    return this.#sayingToListenAt(address)?.label
  }

  /** What to call whoever is dialed there: as `peers` calls it, so that what goes wrong is told of the right one. */
  nameOf(address: string): string {
    return this.#labels.get(address) ?? this.#sayingToListenAt(address, true)?.label ?? address
  }

  /** `fromHearsay`: others may say it of somebody who was never linked. */
  #sayingToListenAt(address: string, fromHearsay = false) {
    if (this.#members.get(address) !== undefined) return undefined
    for (const member of this.#members)
      if (member.address === address && (fromHearsay || member.boot !== undefined)) return member
    return undefined
  }
}
