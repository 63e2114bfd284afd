// What every section is told about the run.

/** How thoroughly, with which build, and where progress goes. */
export interface BenchSetup {
  /** Folder of the code as it ships, and of the benchmark's own workers. */
  distDir: string
  /** Each figure is the median of so many rounds. */
  rounds: number
  /** Shorter windows and less data: to see that it runs, not to publish. */
  pace: 'full' | 'quick'
  /** Stores of ours that take part in the capacity section. */
  stores: readonly ('arena' | 'heap')[]
  /** Takes a line about what is being done. */
  progress(line: string): void
}

/** Memory limit for contestants whose data is meant to fit, in MiB. */
export const AMPLE_MEMORY_MB = 1024
