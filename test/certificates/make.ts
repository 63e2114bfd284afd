// npm run certs -- --out DIR --regions eu,us,ap: certificates of a cluster, from an authority made for it; with --renew,
// those of the servers in these regions anew, from the authority that is there. See cluster.ts.

import { parseArgs } from 'node:util'
import { nodeIdIn, renewServerCertificates, writeClusterCertificates } from './cluster.ts'

const USAGE = `Usage: npm run certs -- [--out DIR] [--regions NAME,NAME…] [--renew]

Makes an authority, and certificates for a server in each region and for a client of each role.

  --out DIR       where to (default: certificates)
  --regions LIST  names of regions (default: eu,us,ap)
  --renew         the servers' certificates anew, from the authority in DIR`

// Whoever read the output may have seen enough.
process.stdout.on('error', () => {})

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      out: { type: 'string', default: 'certificates' },
      regions: { type: 'string', default: 'eu,us,ap' },
      renew: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) {
    console.log(USAGE)
    return
  }
  const { out, renew } = values
  const regions = values.regions.split(',').filter((region) => region !== '')
  const odd = regions.filter((region) => !/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/i.test(region))
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
}

try {
  await main()
} catch (error) {
  console.error(`certs: ${error instanceof Error ? error.message : String(error)}`)
  process.exitCode = 1
}
