// The types of Node that supabase-js names; an app in a browser has them from no package.
declare namespace NodeJS {
  interface ReadableStream {}
  interface Timeout {}
}
declare type Buffer = Uint8Array
