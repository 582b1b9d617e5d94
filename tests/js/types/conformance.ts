// The declarations describe the modules.
import type * as api from './smelt/smelt.d.ts'
import * as modules from './smelt/index.js'
import { SupabaseTransport } from './smelt/transport-supabase.js'

const declared: { [name in keyof typeof api]: (typeof api)[name] } = modules
const transport = (supabase: any): api.Transport => new SupabaseTransport(supabase)
export { declared, transport }
