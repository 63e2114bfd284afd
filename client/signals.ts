// Which calls a signal ends. One listener per signal, however many calls share it: a request handler passes one signal
// to all it does, and Node warns of a leak from the eleventh listener on. Knows calls only as things to end.

interface Group<Call> {
  readonly calls: Set<Call>
  leave(): void
}

export class Signals<Call> {
  readonly #groups = new Map<AbortSignal, Group<Call>>()
  readonly #end: (call: Call, reason: unknown) => void

  /** `end`: gets each call whose signal is aborted, and stops listening for it. */
  constructor(end: (call: Call, reason: unknown) => void) {
    this.#end = end
  }

  /** The signal is not aborted yet. Returns how to stop listening: to be called once, whatever ended the call. */
  listen(call: Call, signal: AbortSignal): () => void {
    const group = this.#groups.get(signal) ?? this.#watch(signal)
    group.calls.add(call)
    return () => {
      group.calls.delete(call)
      if (group.calls.size === 0) group.leave()
    }
  }

  #watch(signal: AbortSignal): Group<Call> {
    const calls = new Set<Call>()
    const onAbort = () => {
      for (const call of calls) this.#end(call, signal.reason)
    }
    const leave = () => {
      this.#groups.delete(signal)
      signal.removeEventListener('abort', onAbort)
    }
    signal.addEventListener('abort', onAbort)
    const group = { calls, leave }
    this.#groups.set(signal, group)
    return group
  }
}
