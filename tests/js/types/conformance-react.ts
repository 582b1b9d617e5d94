// The declarations describe the hooks and the helpers for TanStack Query.
import { QueryClient } from '@tanstack/react-query'
import * as query from './smelt/query-module.js'
import type * as queryApi from './smelt/query.js'
import * as react from './smelt/react-module.js'
import type * as reactApi from './smelt/react.js'

const declared: typeof reactApi & typeof queryApi = { ...react, ...query }
query.smeltQueryInvalidator(new QueryClient())
export { declared }
