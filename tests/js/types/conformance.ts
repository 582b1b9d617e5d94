// The declarations describe the modules.
import type * as api from './smelt/index.js'
import * as captions from './smelt/captions.js'
import * as client from './smelt/client.js'
import * as errors from './smelt/errors.js'
import * as merge from './smelt/merge.js'
import * as subscription from './smelt/subscription.js'
import { gatewayTransport } from './smelt/transport-gateway.js'
import { SupabaseTransport } from './smelt/transport-supabase.js'

const modules = { ...captions, ...client, ...errors, ...merge, ...subscription }
const declared: { [name in keyof typeof api]: (typeof api)[name] } = modules
const transport = (supabase: any): api.Transport => new SupabaseTransport(supabase)
const overGateway = (options: api.GatewayOptions | api.ReadOnlyOptions): api.Transport => gatewayTransport(options)
export { declared, overGateway, transport }
