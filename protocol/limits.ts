// The numbers that both ends of a connection must agree on, each with its reason. Knows nothing else.

/** Lowest and highest protocol version this code speaks; HELLO agrees on one. */
export const PROTOCOL_VERSION_MIN = 1
export const PROTOCOL_VERSION_MAX = 1

export const DEFAULT_PORT = 11142

/** A frame is a u32 big-endian length and that many bytes of MessagePack. */
export const FRAME_HEADER_BYTES = 4

/** Keys are names, not data: 1 KiB holds a URL, and a key is always contiguous in memory. UTF-8 bytes. */
export const KEY_BYTES_MIN = 1
export const KEY_BYTES_MAX = 1024

/** Default largest value. A server may be told another (`--max-value-size`) and names it in its HELLO reply. */
export const VALUE_BYTES_MAX_DEFAULT = 1024 * 1024

/** Largest value a server can be configured for: a frame length must stay far below 2^31. */
export const VALUE_BYTES_MAX_CEILING = 512 * 1024 * 1024

/** What a frame may hold beside one largest value: the key, the operands, and the heads of a many-key request. */
export const FRAME_OVERHEAD_BYTES_MAX = 64 * 1024

/** What a client must accept as a reply, however small the values of its server are: the heads of many entries. */
export const REPLY_BYTES_MIN = 128 * 1024

/** Most keys in one many-key request: bounds the work one frame can cause. */
export const KEYS_PER_REQUEST_MAX = 4096

/** Arrays in frames nest at most this deep: the frame itself, a list of entries, an entry. */
export const NESTING_DEPTH_MAX = 3

/** What PING echoes: enough for a timestamp or a name; a reply must never be longer than a request may be. Bytes. */
export const PING_BYTES_MAX = 1024

/** HELLO's client name: for logs and statistics only. UTF-8 bytes. */
export const CLIENT_NAME_BYTES_MAX = 128

/** Longest time to live: 100 years in milliseconds; a longer one is a mistake in units. */
export const TTL_MS_MAX = 100 * 366 * 24 * 3600 * 1000

/** Request ids are unsigned 32-bit; 0 is reserved for what the server says unasked. */
export const REQUEST_ID_MAX = 0xffff_ffff
export const PUSH_REQUEST_ID = 0

/** A version on the wire: u64 big-endian hybrid logical clock, then the 8 bytes of the origin's boot id. */
export const VERSION_BYTES = 16
export const BOOT_ID_BYTES = 8

/** Unless SCAN says otherwise, and at the most, this many keys per page. */
export const SCAN_COUNT_DEFAULT = 100
export const SCAN_COUNT_MAX = 4096

/** No more servers than this in a cluster: every message and every rule between them is linear in their number. */
export const MEMBERS_MAX = 64

/** Write concern: as acks operand, all other servers that this one knows. */
export const ACKS_ALL = 255
/** How long a write waits for other servers to confirm it, unless it says otherwise, and at the most. ms. */
export const ACKS_TIMEOUT_MS_DEFAULT = 1000
export const ACKS_TIMEOUT_MS_MAX = 60_000
