// What Node and OpenSSL say of a TLS connection that failed, in one line for people. OpenSSL's own messages are
// addresses of memory and places in its source, with the reason in between.

const OPENSSL = /(^|:)error:[0-9A-F]+:/i

/** An error as it is, unless it can be said better; then that one is its cause. */
export function explainedTls(error: Error): Error {
  if ('reason' in error && typeof error.reason === 'string' && OPENSSL.test(error.message))
    return new Error(`TLS: ${error.reason}`, { cause: error })
  if (error.message.startsWith('Client network socket disconnected before secure TLS'))
    return new Error('the connection was closed in the TLS handshake: is TLS spoken there?', { cause: error })
  return error
}
