import { ArenaStore } from '../../../server/store/arena-store.ts'
import { describeStore } from './conformance.ts'

describeStore('ArenaStore', (options) => new ArenaStore(options))
