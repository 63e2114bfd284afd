// npm run certs -- --out DIR --regions eu,us,ap: certificates of a cluster, from an authority made for it; with --renew,
// those of the servers in these regions anew, from the authority that is there. See cluster.ts.

import { parseArgs } from 'node:util'
import { nodeIdIn, renewServerCertificates, writeClusterCertificates } from './cluster.ts'

const { values } = parseArgs({
  options: {
    out: { type: 'string', default: 'certificates' },
    regions: { type: 'string', default: 'eu,us,ap' },
    renew: { type: 'boolean', default: false },
  },
})
const { out, renew } = values
const regions = values.regions.split(',').filter((region) => region !== '')
const odd = regions.filter((region) => !/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/i.test(region))

// Whoever read the output may have seen enough.
process.stdout.on('error', () => {})

try {
  if (odd.length > 0 || regions.length === 0)
    throw new Error(`--regions ${values.regions} is not possible; allowed: names such as eu,us-east`)
  const written = await (renew ? renewServerCertificates : writeClusterCertificates)(out, regions)
  console.log(written.map((file) => `${out}/${file}`).join('\n'))
  for (const region of renew ? [] : regions) {
    const node = nodeIdIn(region)
    console.log(
      `\nnpm start -- --node-id ${node} --region ${region} --tls-ca ${out}/authority.pem --tls-require-client-cert ` +
        `--tls-cert ${out}/${node}.pem --tls-key ${out}/${node}.key.pem`,
    )
  }
} catch (error) {
  console.error(`certs: ${error instanceof Error ? error.message : String(error)}`)
  process.exitCode = 1
}
