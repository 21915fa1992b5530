/**
 * Asks for a video. What is wrong is said beside its field; what was typed stays.
 */
import { html } from 'htm/preact'
import { useRef, useState } from 'preact/hooks'
import type { Board } from './dashboard-state.ts'
import type { Answer, Model } from './documents.ts'
import { fault, money, refusal, seconds } from './format.ts'
import { type Image, ImageField } from './image-field.ts'

const NO_IMAGE: Image = { url: '' }
/** Those of the input, `input.prompt` and so on, that have a place of their own for what is wrong with them. */
const FIELDS = ['image', 'prompt', 'negativePrompt', 'seed', 'tags', 'duration']
/** Those that nobody sees while they are folded away. */
const FOLDED = ['negativePrompt', 'seed', 'tags']

const FULL = 'This app keeps as many images as it may.'

const isWide = () => matchMedia('(min-width: 56rem)').matches

export function SubmitForm({ board, models }: { board: Board; models: readonly Model[] }) {
  const place = useRef<HTMLDetailsElement>(null)
  const more = useRef<HTMLDetailsElement>(null)
  // On a phone what is there comes first.
  const [isOpen] = useState(isWide)
  const [chosen, choose] = useState<string | null>(null)
  const [image, setImage] = useState<Image>(NO_IMAGE)
  const [isBusy, setBusy] = useState(false)
  const [faults, setFaults] = useState<Record<string, string>>({})
  const [said, say] = useState<{ words: string; isError: boolean } | null>(null)
  const model = models.find(model => model.model === chosen) ?? models[0]
  const price = model?.cost.amount ?? 0

  async function submit(form: HTMLFormElement): Promise<void> {
    const input = inputOf(new FormData(form), model)
    const source = 'file' in image ? await uploaded(image.file) : { url: image.url.trim() }
    if (source === null) return
    const answer = await board.submit({ ...input, image: source })
    if (answer.code !== undefined) return show(answer)
    say({ words: 'Submitted.', isError: false })
    if (isWide()) return
    // There the new card is below what the form takes.
    place.current?.removeAttribute('open')
    place.current?.closest('main')?.querySelector('.grid')?.scrollIntoView({ block: 'start' })
  }

  async function uploaded(file: File): Promise<{ uploadId: string } | null> {
    say({ words: 'Uploading the image…', isError: false })
    const answer = await board.upload(file)
    if (answer.upload) return { uploadId: answer.upload.id }
    point({ image: answer.code === 'RATE_LIMITED' ? refusal({ ...answer, message: FULL }) : refusal(answer) })
    say(null)
    return null
  }

  function show(answer: Answer): void {
    const issues = (answer.issues ?? []).map(({ path: [, field = ''], message }) => ({
      field,
      words: fault(message),
    }))
    const placed = issues.filter(({ field }) => FIELDS.includes(field))
    point(Object.fromEntries(placed.map(({ field, words }) => [field, words])))
    const elsewhere = issues.filter(({ field }) => !FIELDS.includes(field))
    const words =
      elsewhere.length > 0 ? elsewhere.map(({ words }) => words).join(' ') : refusal(answer, price)
    say(placed.length > 0 && elsewhere.length === 0 ? null : { words, isError: true })
  }

  /** Says what is wrong where it is, and leads there. */
  function point(found: Record<string, string>): void {
    setFaults(found)
    if (more.current !== null && FOLDED.some(name => name in found)) more.current.open = true
    requestAnimationFrame(() =>
      place.current?.querySelector<HTMLElement>('[aria-invalid=true], .image.wrong input')?.focus(),
    )
  }

  /** What is typed anew is not wrong any more. */
  function forgive(field: string): void {
    say(null)
    setFaults(({ [field]: _, ...others }) => others)
  }

  async function onSubmit(event: SubmitEvent) {
    event.preventDefault()
    if (isBusy || model === undefined) return
    setBusy(true)
    setFaults({})
    say(null)
    try {
      await submit(event.target as HTMLFormElement)
    } catch (error) {
      say({ words: (error as Error).message, isError: true })
    }
    setBusy(false)
  }

  const wrong = (name: string) =>
    faults[name] && html`<p id=${`${name}-fault`} class="error">${faults[name]}</p>`
  const marks = (name: string) =>
    faults[name] ? { 'aria-invalid': 'true', 'aria-describedby': `${name}-fault` } : {}

  return html`
    <details class="panel new" open=${isOpen} ref=${place}>
      <summary><h2>New video</h2></summary>
      <form
        class="submit" onSubmit=${onSubmit}
        onInput=${({ target }: { target: HTMLInputElement }) => forgive(target.name)}
        onInvalidCapture=${({ target }: { target: HTMLInputElement }) => target.closest('details')?.setAttribute('open', '')}>
        <${ImageField} image=${image} fault=${faults.image} onImage=${(next: Image) => {
          setImage(next)
          forgive('image')
        }} />
        <label>
          Prompt
          <textarea
            name="prompt" rows="3" required ...${marks('prompt')}
            placeholder="What happens in it, and how the camera moves" />
        </label>
        ${wrong('prompt')}
        <label>
          Model
          <select name="model" onChange=${(event: Event) => choose((event.target as HTMLSelectElement).value)}>
            ${models.map(
              ({ model: value, name, resolution, cost }) => html`
                <option value=${value} selected=${value === model?.model}>
                  ${resolution} · ${money(cost.amount)} · ${name.split(',')[0]}
                </option>
              `,
            )}
          </select>
        </label>
        ${wrong('duration')}
        <details ref=${more}>
          <summary>More</summary>
          <label>
            Negative prompt
            <textarea name="negativePrompt" rows="2" ...${marks('negativePrompt')} placeholder="What must not be in it" />
          </label>
          ${wrong('negativePrompt')}
          <label>
            Seed
            <input name="seed" type="number" step="1" min="-1" max="2147483647" placeholder="random" ...${marks('seed')} />
          </label>
          ${wrong('seed')}
          <label>
            Tags
            <input name="tags" placeholder="spring, draft" ...${marks('tags')} />
          </label>
          ${wrong('tags')}
          <label class="check"><input name="expand" type="checkbox" /> Have the prompt expanded</label>
        </details>
        <button class="primary" aria-disabled=${isBusy || model === undefined} aria-busy=${isBusy ? 'true' : undefined}>
          ${model === undefined ? 'Submit' : `Submit · ${money(model.cost.amount)}`}
        </button>
        <p class=${said?.isError ? 'error' : 'done'} role="status">${said?.words}</p>
        ${model && html`<p class="hint">${lastsOf(model)}</p>`}
      </form>
    </details>
  `
}

const lastsOf = ({ durations, expectedSeconds }: Model): string =>
  `A clip of ${durations[0]} s${expectedSeconds === null ? '' : `; usually there in ${seconds(expectedSeconds)}`}.`

function inputOf(form: FormData, model: Model | undefined) {
  const text = (name: string) => String(form.get(name) ?? '').trim()
  const tags = text('tags')
    .split(',')
    .map(tag => tag.trim())
    .filter(tag => tag !== '')
  return {
    prompt: text('prompt'),
    enablePromptExpansion: form.get('expand') !== null,
    ...(model && { model: model.model, duration: model.durations[0] }),
    ...(text('negativePrompt') !== '' && { negativePrompt: text('negativePrompt') }),
    ...(text('seed') !== '' && { seed: Number(text('seed')) }),
    ...(tags.length > 0 && { tags }),
  }
}
