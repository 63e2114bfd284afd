// How large a soak is, and what happens in it when: pure, from what was asked for and what the machine allows.
//
// Between the command line (or the test) and soak.ts, which carries it out. Each attack comes alone first, so that a
// weak figure has a name, then all together; ordinary clients work through all of it.

export const ATTACKS = ['idle', 'churn', 'slow', 'deaf', 'malformed'] as const
export type AttackName = (typeof ATTACKS)[number]

/** Attacks whose connections stay; the others' come and go. */
export const LASTING: ReadonlySet<AttackName> = new Set(['idle', 'slow', 'deaf'])

/** How much of each attack there is. */
export interface Sizes {
  /** Connections that are open and say next to nothing. */
  idle: number
  /** Connections a second that ask for one thing and go, or reset. */
  churn: number
  /** Connections that send a byte a second. */
  slow: number
  /** Connections that ask for large values and never read. */
  deaf: number
  /** Connections a second that say what is no frame, or no request. */
  malformed: number
}

export interface Phase {
  name: string
  /** None: quiet. */
  attacks: readonly AttackName[]
  /** Of the connections a second that come and go. */
  rateShare: number
  ms: number
}

export interface Plan {
  sizes: Sizes
  /** What ordinary clients ask, in calls a second. */
  ordinaryPerSecond: number
  phases: readonly Phase[]
  /** Ordinary clients alone, before anything is measured. */
  warmUpMs: number
  /** How long the server may take after each attack until its connections are gone and its memory is still. */
  settleMsMax: number
  /** Its memory is still when it has not moved for this long. */
  stillMs: number
  /** How often a line is printed. */
  lineMs: number
}

const CHURN_PER_SECOND = 2000
const MALFORMED_PER_SECOND = 500
/** A handshake costs both ends a millisecond and more, and here they share a machine. */
const TLS_SHARE = 0.1
const SLOW_MAX = 1000
const DEAF_MAX = 1000
const ORDINARY_PER_SECOND = 400

const LINE_MS = 5000
const WARM_UP_MS = 2000
const STILL_MS = 1500
/** Of the time of an attack, for the server to settle after it. */
const SETTLE_SHARE = 0.4
/** Planned for that at the most; it may take longer once. */
const SETTLE_MS_PLANNED = 5000
const SETTLE_MS_MAX = 20_000
/** All attacks at once take as long as two alone. */
const TOGETHER_SHARES = 2
/** Attackers share a core, which is busy with half of the churn alone. */
const TOGETHER_RATE_SHARE = 0.2

/** A soak of about so many minutes, the build not counted; a fifth of the connections is slow, and as many are deaf. */
export function planSoak(minutes: number, connections: number, isTls = false): Plan {
  const shares = 1 + ATTACKS.length + TOGETHER_SHARES + 1
  const shareMs = (minutes * 60_000 - WARM_UP_MS) / shares
  const attackMs = shareMs - Math.min(SETTLE_MS_PLANNED, shareMs * SETTLE_SHARE)
  const share = isTls ? TLS_SHARE : 1
  return {
    sizes: {
      idle: connections,
      churn: CHURN_PER_SECOND * share,
      slow: Math.min(SLOW_MAX, Math.ceil(connections / 5)),
      deaf: Math.min(DEAF_MAX, Math.ceil(connections / 5)),
      malformed: MALFORMED_PER_SECOND * share,
    },
    ordinaryPerSecond: ORDINARY_PER_SECOND,
    phases: phasesOf({ quietMs: shareMs, attackMs, togetherMs: attackMs + shareMs }),
    warmUpMs: WARM_UP_MS,
    settleMsMax: SETTLE_MS_MAX,
    stillMs: STILL_MS,
    lineMs: Math.min(LINE_MS, shareMs / 2),
  }
}

export function phasesOf(times: { quietMs: number; attackMs: number; togetherMs: number }): Phase[] {
  return [
    { name: 'quiet', attacks: [], rateShare: 0, ms: times.quietMs },
    ...ATTACKS.map((attack) => ({ name: attack, attacks: [attack], rateShare: 1, ms: times.attackMs })),
    { name: 'together', attacks: ATTACKS, rateShare: TOGETHER_RATE_SHARE, ms: times.togetherMs },
    { name: 'quiet again', attacks: [], rateShare: 0, ms: times.quietMs },
  ]
}

/** How much of an attack there is in a phase. */
export function sizeIn({ rateShare }: Phase, attack: AttackName, sizes: Sizes): number {
  return LASTING.has(attack) ? sizes[attack] : Math.ceil(sizes[attack] * rateShare)
}

/** Connections of a server while everything goes on, short ones included. */
export function connectionsIn({ idle, slow, deaf, churn, malformed }: Sizes): number {
  // Half a second each, which is far more than they take.
  return idle + slow + deaf + Math.ceil((churn + malformed) / 2) + ORDINARY_CONNECTIONS_MAX
}

/** Of ordinary clients, and of whoever asks for statistics. */
export const ORDINARY_CONNECTIONS_MAX = 32
/** What a server has open besides connections, with what it keeps back. */
const DESCRIPTORS_BESIDE = 256
/** Fewer are no attack. */
const CONNECTIONS_MIN = 50

/**
 * Sizes that the limit of open files of a server allows, and of whoever attacks it: each attack is a process of its own.
 * `lowered` says in words what had to be. Throws if next to nothing is left.
 */
export function fitSizes(
  sizes: Sizes,
  descriptorLimit: number | undefined,
): { sizes: Sizes; lowered: string | undefined } {
  const needed = connectionsIn(sizes) + DESCRIPTORS_BESIDE
  if (descriptorLimit === undefined || needed <= descriptorLimit) return { sizes, lowered: undefined }
  const short = connectionsIn({ ...sizes, idle: 0, slow: 0, deaf: 0 }) + DESCRIPTORS_BESIDE
  const factor = Math.max(0, descriptorLimit - short) / (needed - short)
  const fitting = (count: number) => Math.floor(count * factor)
  const fitted = {
    ...sizes,
    idle: fitting(sizes.idle),
    slow: fitting(sizes.slow),
    deaf: fitting(sizes.deaf),
  }
  const lowered =
    `${needed} open files are needed and the limit is ${descriptorLimit} (ulimit -n): ` +
    (['idle', 'slow', 'deaf'] as const).map((name) => `${name} ${sizes[name]} -> ${fitted[name]}`).join(', ')
  if (fitted.idle < CONNECTIONS_MIN) throw new Error(`too few to attack anything: ${lowered}`)
  return { sizes: fitted, lowered }
}
