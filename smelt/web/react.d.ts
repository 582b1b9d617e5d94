// Declarations of the hooks.
import type { ReactElement, ReactNode } from 'react'
import type {
  AnySupabase,
  BatchView,
  ConnectionState,
  ConnectionView,
  CreateRequest,
  FeedView,
  NotificationsView,
  Result,
  SmeltClient,
  SmeltError,
  SmeltJob,
  SmeltView,
  Snapshot,
  StageProgress,
  UploadProgress,
} from './smelt.js'

type MaybeId = string | null | undefined

export type SmeltProviderProps = {
  readonly children?: ReactNode
  /** What `smeltQueryInvalidator(queryClient)` of `smelt-js/query` returns; always the same function. */
  readonly invalidator?: (client: SmeltClient) => () => void
} & (
  | { readonly supabase: AnySupabase; readonly client?: undefined; readonly domEvents?: boolean }
  | { readonly client: SmeltClient; readonly supabase?: undefined; readonly domEvents?: undefined }
)

/** `failed` is the end of the smelt, or a permanent error such as `not_found`; never a lost connection. */
export interface SmeltState {
  readonly status: 'pending' | 'processing' | 'completed' | 'failed'
  readonly progress: StageProgress | null
  readonly results: readonly Result[] | null
  readonly error: { readonly code: string; readonly message: string } | null
}

/** A view with the status of its connection alone: `polling` while the live connection is lost. */
type WithConnection<View extends { connection: ConnectionView }> = Omit<View, 'connection'> & {
  readonly connection: ConnectionView['status']
}

export interface Smelt extends WithConnection<Omit<SmeltView, 'eta_seconds'>> {
  /** Remaining seconds, null if unknown. */
  readonly eta: number | null
  /** False while no worker of the project runs, null if that is unknown. */
  readonly worker: boolean | null
  readonly cancel: () => Promise<Snapshot>
  readonly retry: () => Promise<Snapshot>
}

export interface Smelts extends WithConnection<FeedView> {}
export interface Batch extends WithConnection<BatchView> {}
export interface Notifications extends WithConnection<NotificationsView> {
  /** Mark as shown in a list; returns how many were not. */
  readonly seen: (ids: readonly string[]) => Promise<number>
  /** Mark as opened; returns how many were not. */
  readonly read: (ids: readonly string[]) => Promise<number>
}

export interface UploadState {
  readonly isUploading: boolean
  readonly progress: UploadProgress | null
  readonly job: SmeltJob | null
  readonly error: SmeltError | null
}

export interface Upload extends UploadState {
  /**
   * Create a smelt: resolves to it, or to null after `cancel` or an abort, and rejects with the `SmeltError` that is also
   * in `error`. A call with the same files during an upload joins that upload; one with others rejects with
   * `upload_running`.
   */
  readonly upload: (request: CreateRequest) => Promise<SmeltJob | null>
  readonly cancel: () => void
}

export function SmeltProvider(props: SmeltProviderProps): ReactElement
export function useSmeltClient(): SmeltClient
export function useSmeltConnection(): ConnectionState
export function useSmeltSubscription(supabase: AnySupabase, smeltId: MaybeId): SmeltState
export function useSmelt(smeltId: MaybeId): Smelt
export function useSmelts(): Smelts
export function useSmeltBatch(batchId: MaybeId): Batch
export function useSmeltNotifications(): Notifications
export function useSmeltUpload(): Upload
