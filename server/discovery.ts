// Discovery: servers on one LAN find each other without a peer list. Each says by UDP multicast where it is dialled, and
// reports what it hears. Nothing is answered, and who was found before is not remembered.
//
// Between the sockets of a group and an owner who dials:
//
//   idle ──start()──> starting ──> running ──stop()──> stopped          stop() from any state, or a failed start
//
// A round: follow the interfaces, announce, wait. The first rounds come quickly. What a round hears is bounded: beyond
// that the sockets are closed until the next one, so that a flood costs the kernel, not the cache.

import { isIP } from 'node:net'
import { networkInterfaces } from 'node:os'
import { CacheError } from '../protocol/errors.ts'
import { hostPort } from '../protocol/notation.ts'
import {
  type HeardAnnouncement,
  isDialable,
  isProven,
  readAnnouncement,
  writeAnnouncement,
} from './announcement.ts'
import { isLoopback } from './loopback.ts'
import { type Interfaces, isLinkLocal, isMulticast, multicastGroup } from './multicast.ts'
import { MulticastSockets } from './multicast-sockets.ts'
import { type Logger, OptionError } from './options.ts'

/** Where this server is dialled. */
export interface Announced {
  /** The IP address that it listens on, as the system knows it; undefined: all of the group's family. */
  host?: string | undefined
  /** 0: it does not listen yet, nothing is said. */
  port: number
}

export interface DiscoveryOptions {
  group: string
  port: number
  /** Between announcements, in ms, on average. Less finds a newcomer sooner, and says more on the LAN. */
  intervalMs?: number
  /** Announcements of other clusters are ignored. */
  cluster: string
  /** Node id of this server. */
  label: string
  /** 16 hexadecimal digits, lower case. */
  boot: string
  /** Asked in every round. */
  announce: () => Announced
  /** The cluster secret, asked for each announcement: with one, only who knows it too is believed. */
  secret?: () => Uint8Array | undefined
  /**
   * A server announced itself at host:port. Called for every announcement: once per interval, server and common
   * interface; without a secret, for whatever anybody on the LAN says. What is kept of it is the owner's to bound.
   */
  onFound: (address: string, label: string, boot: string) => void
  logger: Logger
  /** From 0 up to, but not including, 1. */
  random: () => number
  /** Wall clock, ms since 1970. */
  now: () => number
  /** Default: those of this machine. */
  interfaces?: () => Interfaces
}

/** Why a datagram was ignored; `outside`: it came from beyond this machine and only this machine counts. */
export type Ignored = 'malformed' | 'foreign' | 'own' | 'outside' | 'unproven' | 'stale'

const INTERVAL_MS = 1000
/** The first wait; each is twice as long as the one before, up to the interval. */
const FIRST_WAIT_MS = 100
/** More than 64 members say on several interfaces; reading as many takes some 20 ms. */
const DATAGRAMS_PER_ROUND_MAX = 1024
/** A proof is believed for so long, a copy sent later is not. Servers whose clocks are as far apart take no writes of each other. */
const PROOF_AGE_MS_MAX = 10_000
/** Of what is ignored for one reason, the first and then one in so many is logged. */
const LOG_EVERY = 1000

export class Discovery {
  /** `sent`, `failed`: announcements. `heard`: datagrams, each found or ignored. `floods`: rounds that heard too much. */
  readonly counters: Record<'sent' | 'failed' | 'heard' | 'found' | 'floods' | Ignored, number> = {
    sent: 0,
    failed: 0,
    heard: 0,
    found: 0,
    floods: 0,
    malformed: 0,
    foreign: 0,
    own: 0,
    outside: 0,
    unproven: 0,
    stale: 0,
  }
  readonly #options: DiscoveryOptions
  readonly #sockets: MulticastSockets
  #state: 'idle' | 'starting' | 'running' | 'stopped' = 'idle'
  #following: Promise<void> = Promise.resolve()
  #timer: NodeJS.Timeout | undefined
  #rounds = 0
  #datagramsLeft = DATAGRAMS_PER_ROUND_MAX
  /** This server listens on loopback alone. */
  #isLocal = false

  /** Throws RangeError for a secret that is none. */
  constructor(options: DiscoveryOptions) {
    if (options.secret?.()?.length === 0) throw new RangeError('a cluster secret has at least one byte')
    this.#options = options
    const { group, port, logger, interfaces = networkInterfaces } = options
    this.#sockets = new MulticastSockets({
      ...{ group, port, logger, interfaces },
      onDatagram: (datagram, source) => this.#onDatagram(datagram, source),
      onSent: (error) => {
        this.counters[error === null ? 'sent' : 'failed']++
      },
    })
  }

  /**
   * Begins. Rejects with OptionError if it is no multicast group, with RangeError if what is to be announced is nowhere
   * to be dialled, and with an Error that says why if no interface carries the group. Later it carries on alone.
   */
  async start(): Promise<void> {
    if (this.#state !== 'idle')
      throw new CacheError('CACHE_CLOSED', `a discovery that is ${this.#state} cannot be started`)
    this.#state = 'starting'
    const { group, port, logger } = this.#options
    try {
      if (!isMulticast(group))
        throw new OptionError('multicast', multicastGroup.format({ group, port }), multicastGroup.allowed)
      await this.#follow()
      if (this.#isStopped) throw new CacheError('CACHE_CLOSED', 'discovery was stopped while it started')
      if (this.#sockets.names.length === 0) throw this.#unreachable()
      this.#announce()
    } catch (error) {
      await this.stop()
      throw error
    }
    this.#state = 'running'
    logger.info({ group, port, interfaces: this.#sockets.names }, 'looking for servers')
    this.#wait()
  }

  /** Says and reports nothing more. Resolves when all sockets are closed. Idempotent. */
  async stop(): Promise<void> {
    this.#state = 'stopped'
    clearTimeout(this.#timer)
    await Promise.allSettled([this.#following])
    await this.#sockets.close()
  }

  /** The state as it may have become while something was awaited. */
  get #isStopped(): boolean {
    return this.#state === 'stopped'
  }

  #wait(): void {
    const boundMs = Math.min(this.#options.intervalMs ?? INTERVAL_MS, FIRST_WAIT_MS * 2 ** this.#rounds++)
    // Servers that were started together should not speak together.
    const waitMs = boundMs * (0.5 + this.#options.random())
    this.#timer = setTimeout(() => void this.#round(), waitMs).unref()
  }

  async #round(): Promise<void> {
    this.#datagramsLeft = DATAGRAMS_PER_ROUND_MAX
    try {
      await this.#follow()
      if (!this.#isStopped) this.#announce()
    } catch (error) {
      this.#options.logger.error({ error: messageOf(error) }, 'announcement failed')
    }
    if (!this.#isStopped) this.#wait()
  }

  #follow(): Promise<void> {
    const { host } = this.#options.announce()
    if (host !== undefined && !isDialable(host))
      throw new RangeError(
        `${host} cannot be announced: it is not the IP address of one machine, without a zone`,
      )
    this.#isLocal = host !== undefined && isLoopback(host)
    this.#following = this.#sockets.follow(host)
    return this.#following
  }

  #announce(): void {
    const { announce, cluster, label, boot, secret, now } = this.#options
    const { port } = announce()
    if (port === 0) return
    const wallMs = Math.floor(now())
    // The address is always named: so the proof covers it, and a copy sent from elsewhere leads nowhere else.
    this.#sockets.send(({ host }) =>
      writeAnnouncement({ cluster, label, boot, host, port, wallMs }, secret?.()),
    )
  }

  #unreachable(): Error {
    const { group } = this.#options
    const reasons = this.#sockets.troubles.join('; ') || 'none has an address of its family'
    const advice = this.#isLocal && isIP(group) === 6 ? '; on loopback an IPv4 group may do' : ''
    return new Error(`no interface carries the multicast group ${group}: ${reasons}${advice}`)
  }

  #onDatagram(datagram: Uint8Array, source: string): void {
    if (this.#isStopped) return
    this.counters.heard++
    if (--this.#datagramsLeft < 0) {
      this.#deafen()
      return
    }
    let heard: HeardAnnouncement
    try {
      heard = readAnnouncement(datagram)
    } catch (error) {
      this.#ignore('malformed', { source, bytes: datagram.length, error: messageOf(error) })
      return
    }
    const { host, port, cluster, label, boot, wallMs } = heard
    const why = this.#whyIgnore(heard, datagram, source)
    if (why !== undefined) {
      this.#ignore(why, { source, cluster, nodeId: label, aheadMs: Math.round(wallMs - this.#options.now()) })
      return
    }
    this.counters.found++
    this.#options.onFound(hostPort.format({ host: dialledAt(host, source), port }), label, boot)
  }

  /** What costs least is asked first. */
  #whyIgnore(heard: HeardAnnouncement, datagram: Uint8Array, source: string): Ignored | undefined {
    const { cluster, boot, secret, now } = this.#options
    if (heard.boot === boot) return 'own'
    if (heard.cluster !== cluster) return 'foreign'
    // A server on loopback believes its own machine alone; and nobody else's loopback is ours.
    const mustBeOurs = this.#isLocal || (heard.host !== undefined && isLoopback(heard.host))
    if (mustBeOurs && !isLoopback(source)) return 'outside'
    const key = secret?.()
    if (key === undefined) return undefined
    if (!isProven(datagram, heard.proofAt, key)) return 'unproven'
    return Math.abs(now() - heard.wallMs) > PROOF_AGE_MS_MAX ? 'stale' : undefined
  }

  #ignore(why: Ignored, facts: object): void {
    const count = ++this.counters[why]
    if (why === 'own' || count % LOG_EVERY !== 1) return
    // The right cluster by its name: a wrong secret or a wrong clock, or somebody who tries.
    const level = why === 'unproven' || why === 'stale' ? 'warn' : 'debug'
    this.#options.logger[level]({ why, count, ...facts }, 'announcement ignored')
  }

  /** Hears nothing until the next round, which opens everything anew. */
  #deafen(): void {
    const count = ++this.counters.floods
    if (count % LOG_EVERY === 1)
      this.#options.logger.warn({ datagrams: DATAGRAMS_PER_ROUND_MAX, count }, 'flood of announcements')
    void this.#sockets.close()
  }
}

/** A link-local address is dialled in the zone in which it was heard. */
function dialledAt(host: string | undefined, source: string): string {
  if (host === undefined) return source
  return isLinkLocal(host) ? host + (/%.*/.exec(source)?.[0] ?? '') : host
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
