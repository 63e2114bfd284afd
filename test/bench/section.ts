// What one section of the benchmark hands to the report.

export interface Section {
  /** Its number in the report. */
  id: string
  title: string
  /** Tables and what must be said about them. */
  markdown: string
  /** The measurements behind the tables, for machines; JSON. */
  rows: unknown[]
  targets: Target[]
}

/** A figure to reach, as text, since each has its own unit. */
export interface Target {
  name: string
  target: string
  measured: string
  met: boolean
}
