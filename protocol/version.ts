// The version of this package, for HELLO and statistics. A test holds it to package.json: reading that file at run time
// would depend on where the compiled code lies.

export const PACKAGE_VERSION = '0.1.0'
