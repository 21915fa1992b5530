/**
 * The part of AsyncDisposableStack that tests use, for Node 22, which does not have it.
 */
class DisposableStack {
  #resources: AsyncDisposable[] = []

  use<Resource extends AsyncDisposable>(resource: Resource): Resource {
    this.#resources.push(resource)
    return resource
  }

  move(): DisposableStack {
    const moved = new DisposableStack()
    moved.#resources = this.#resources
    this.#resources = []
    return moved
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const resource of this.move().#resources.reverse()) await resource[Symbol.asyncDispose]()
  }

  disposeAsync = () => this[Symbol.asyncDispose]()
}

globalThis.AsyncDisposableStack ??= DisposableStack as never
