/**
 * The form that submits a video. A fault is shown beside its field, and the entered values stay.
 */
import { html } from 'htm/preact'
import { useRef, useState } from 'preact/hooks'
import type { Dashboard } from './dashboard-state.ts'
import type { Model, MutationResult } from './documents.ts'
import { parseTags } from './filters.ts'
import { formatError, formatFault, formatMoney, formatSeconds } from './format.ts'
import { type ImageChoice, ImageField } from './image-field.ts'

const NO_IMAGE: ImageChoice = { url: '' }
/** Fields of the mutation's input that show their own faults. */
const FIELDS_WITH_FAULTS = ['image', 'prompt', 'negativePrompt', 'seed', 'tags', 'duration']
/** Fields that are hidden while "More" is closed. */
const FOLDED_FIELDS = ['negativePrompt', 'seed', 'tags']

const UPLOADS_FULL_MESSAGE = 'This app keeps as many images as it may.'

const isWide = () => matchMedia('(min-width: 56rem)').matches

export function SubmitForm({ dashboard, models }: { dashboard: Dashboard; models: readonly Model[] }) {
  const root = useRef<HTMLDetailsElement>(null)
  const moreFields = useRef<HTMLDetailsElement>(null)
  // On a phone the form starts closed, so that the predictions come first.
  const [isOpen] = useState(isWide)
  const [chosenModel, setChosenModel] = useState<string | null>(null)
  const [image, setImage] = useState<ImageChoice>(NO_IMAGE)
  const [isBusy, setBusy] = useState(false)
  const [faults, setFaults] = useState<Record<string, string>>({})
  const [message, setMessage] = useState<{ text: string; isError: boolean } | null>(null)
  const model = models.find(model => model.model === chosenModel) ?? models[0]
  const price = model?.cost.amount ?? 0

  async function submit(form: HTMLFormElement): Promise<void> {
    const input = readInput(new FormData(form), model)
    const source = 'file' in image ? await uploadImage(image.file) : { url: image.url.trim() }
    if (source === null) return
    const result = await dashboard.submit({ ...input, image: source })
    if (result.code !== undefined) return showFaults(result)
    setMessage({ text: 'Submitted.', isError: false })
    if (isWide()) return
    // On a phone the new card would be below the open form.
    root.current?.removeAttribute('open')
    root.current?.closest('main')?.querySelector('.grid')?.scrollIntoView({ block: 'start' })
  }

  async function uploadImage(file: File): Promise<{ uploadId: string } | null> {
    setMessage({ text: 'Uploading the image…', isError: false })
    const result = await dashboard.upload(file)
    if (result.upload) return { uploadId: result.upload.id }
    showFieldFaults({
      image:
        result.code === 'RATE_LIMITED'
          ? formatError({ ...result, message: UPLOADS_FULL_MESSAGE })
          : formatError(result),
    })
    setMessage(null)
    return null
  }

  function showFaults(result: MutationResult): void {
    const issues = (result.issues ?? []).map(({ path: [, field = ''], message }) => ({
      field,
      text: formatFault(message),
    }))
    const fieldIssues = issues.filter(({ field }) => FIELDS_WITH_FAULTS.includes(field))
    showFieldFaults(Object.fromEntries(fieldIssues.map(({ field, text }) => [field, text])))
    const otherIssues = issues.filter(({ field }) => !FIELDS_WITH_FAULTS.includes(field))
    const text =
      otherIssues.length > 0 ? otherIssues.map(({ text }) => text).join(' ') : formatError(result, price)
    setMessage(fieldIssues.length > 0 && otherIssues.length === 0 ? null : { text, isError: true })
  }

  /** Shows the faults beside their fields, and moves the focus to the first one. */
  function showFieldFaults(fieldFaults: Record<string, string>): void {
    setFaults(fieldFaults)
    if (moreFields.current !== null && FOLDED_FIELDS.some(name => name in fieldFaults))
      moreFields.current.open = true
    requestAnimationFrame(() =>
      root.current?.querySelector<HTMLElement>('[aria-invalid=true], .image.wrong input')?.focus(),
    )
  }

  /** Clears the fault of a field that is being edited. */
  function clearFault(field: string): void {
    setMessage(null)
    setFaults(({ [field]: _, ...others }) => others)
  }

  async function onSubmit(event: SubmitEvent) {
    event.preventDefault()
    if (isBusy || model === undefined) return
    setBusy(true)
    setFaults({})
    setMessage(null)
    try {
      await submit(event.target as HTMLFormElement)
    } catch (error) {
      setMessage({ text: (error as Error).message, isError: true })
    }
    setBusy(false)
  }

  const faultText = (name: string) =>
    faults[name] && html`<p id=${`${name}-fault`} class="error">${faults[name]}</p>`
  const ariaAttributes = (name: string) =>
    faults[name] ? { 'aria-invalid': 'true', 'aria-describedby': `${name}-fault` } : {}

  return html`
    <details class="panel new" open=${isOpen} ref=${root}>
      <summary><h2>New video</h2></summary>
      <form
        class="submit" onSubmit=${onSubmit}
        onInput=${({ target }: { target: HTMLInputElement }) => clearFault(target.name)}
        onInvalidCapture=${({ target }: { target: HTMLInputElement }) => target.closest('details')?.setAttribute('open', '')}>
        <${ImageField} image=${image} fault=${faults.image} onImage=${(next: ImageChoice) => {
          setImage(next)
          clearFault('image')
        }} />
        <label>
          Prompt
          <textarea
            name="prompt" rows="3" required ...${ariaAttributes('prompt')}
            placeholder="What happens in it, and how the camera moves" />
        </label>
        ${faultText('prompt')}
        <label>
          Model
          <select name="model" onChange=${(event: Event) => setChosenModel((event.target as HTMLSelectElement).value)}>
            ${models.map(
              ({ model: value, name, resolution, cost }) => html`
                <option value=${value} selected=${value === model?.model}>
                  ${resolution} · ${formatMoney(cost.amount)} · ${name.split(',')[0]}
                </option>
              `,
            )}
          </select>
        </label>
        ${faultText('duration')}
        <details ref=${moreFields}>
          <summary>More</summary>
          <label>
            Negative prompt
            <textarea name="negativePrompt" rows="2" ...${ariaAttributes('negativePrompt')} placeholder="What must not be in it" />
          </label>
          ${faultText('negativePrompt')}
          <label>
            Seed
            <input name="seed" type="number" step="1" min="-1" max="2147483647" placeholder="random" ...${ariaAttributes('seed')} />
          </label>
          ${faultText('seed')}
          <label>
            Tags
            <input name="tags" placeholder="spring, draft" ...${ariaAttributes('tags')} />
          </label>
          ${faultText('tags')}
          <label class="check"><input name="expand" type="checkbox" /> Have the prompt expanded</label>
        </details>
        <button class="primary" aria-disabled=${isBusy || model === undefined} aria-busy=${isBusy ? 'true' : undefined}>
          ${model === undefined ? 'Submit' : `Submit · ${formatMoney(model.cost.amount)}`}
        </button>
        <p class=${message?.isError ? 'error' : 'done'} role="status">${message?.text}</p>
        ${model && html`<p class="hint">${durationHint(model)}</p>`}
      </form>
    </details>
  `
}

const durationHint = ({ durations, expectedSeconds }: Model): string =>
  `A clip of ${durations[0]} s${expectedSeconds === null ? '' : `; usually there in ${formatSeconds(expectedSeconds)}`}.`

function readInput(form: FormData, model: Model | undefined) {
  const text = (name: string) => String(form.get(name) ?? '').trim()
  const tags = parseTags(text('tags'))
  return {
    prompt: text('prompt'),
    enablePromptExpansion: form.get('expand') !== null,
    ...(model && { model: model.model, duration: model.durations[0] }),
    ...(text('negativePrompt') !== '' && { negativePrompt: text('negativePrompt') }),
    ...(text('seed') !== '' && { seed: Number(text('seed')) }),
    ...(tags.length > 0 && { tags }),
  }
}
