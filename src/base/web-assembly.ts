/** The part that is used here of the global `WebAssembly`, which the language's own library does not declare. */
interface WebAssemblyApi {
  /** Sizes in pages of 64 KiB. */
  readonly Memory: new (limits: {
    initial: number
    maximum: number
  }) => { readonly buffer: ArrayBuffer }
  readonly Module: new (bytes: Uint8Array) => object
  readonly Instance: new (module: object, imports: object) => { readonly exports: object }
}

/** `undefined` where there is none. */
export const { WebAssembly } = globalThis as unknown as { readonly WebAssembly?: WebAssemblyApi }
