/**
 * The image field of the submit form: a dropped, chosen or pasted file, or a URL; with a preview.
 */
import { html } from 'htm/preact'
import { useEffect, useRef, useState } from 'preact/hooks'

export type ImageChoice = { file: File } | { url: string }

/** Image types that the gateway accepts. The gateway itself decides by the bytes. */
const ACCEPTED_TYPES = 'image/jpeg,image/png,image/webp,image/bmp'
const MAX_IMAGE_BYTES = 25 * 1024 * 1024

const findFileFault = ({ size, type }: File): string | null => {
  if (size > MAX_IMAGE_BYTES) return 'An image may have 25 MB at most.'
  return type === '' || type.startsWith('image/') ? null : 'This file is not an image.'
}

export interface ImageFieldProps {
  image: ImageChoice
  fault: string | undefined
  onImage(image: ImageChoice): void
}

export function ImageField({ image, fault, onImage }: ImageFieldProps) {
  const [isOver, setOver] = useState(false)
  const [fileFault, setFileFault] = useState<string | null>(null)
  const chooser = useRef<HTMLInputElement>(null)
  const isFile = 'file' in image
  const preview = usePreview(image)

  const chooseFile = (files: FileList | undefined | null) => {
    const file = files?.[0]
    if (file === undefined) return
    const fileFault = findFileFault(file)
    setFileFault(fileFault)
    if (fileFault === null) onImage({ file })
  }
  const remove = () => {
    setFileFault(null)
    onImage({ url: '' })
    chooser.current?.focus()
  }
  // A file dropped beside the field must not replace the page. A file can be pasted anywhere on the page.
  useEffect(() => {
    const preventNavigation = (event: Event) => event.preventDefault()
    // A clipboard that has text, too, is meant for the focused field.
    const paste = ({ clipboardData }: ClipboardEvent) => {
      if (!clipboardData?.getData('text/plain')) chooseFile(clipboardData?.files)
    }
    addEventListener('dragover', preventNavigation)
    addEventListener('drop', preventNavigation)
    addEventListener('paste', paste)
    return () => {
      removeEventListener('dragover', preventNavigation)
      removeEventListener('drop', preventNavigation)
      removeEventListener('paste', paste)
    }
  }, [])
  const onDropped = (event: DragEvent) => {
    event.preventDefault()
    setOver(false)
    const { dataTransfer } = event
    const url = dataTransfer?.getData('text/uri-list') || dataTransfer?.getData('text/plain')
    if (dataTransfer?.files.length) chooseFile(dataTransfer.files)
    else if (url) onImage({ url })
  }
  const message = fileFault ?? fault

  return html`
    <fieldset
      class=${`image ${isOver ? 'over' : ''} ${message ? 'wrong' : ''}`} aria-describedby=${message ? 'image-fault' : undefined}
      onDragOver=${(event: DragEvent) => {
        event.preventDefault()
        setOver(true)
      }}
      onDragLeave=${() => setOver(false)} onDrop=${onDropped}>
      <legend>Image</legend>
      <div class="drop">
        ${
          preview === null
            ? html`<span class="hint">Drop or paste a file, or</span>`
            : html`<${Preview} key=${preview} src=${preview} isFile=${isFile} />`
        }
        <label class="button">
          ${isFile ? 'Choose another' : 'Choose a file'}
          <input
            class="visually-hidden" type="file" name="file" accept=${ACCEPTED_TYPES}
            ref=${chooser}
            onChange=${({ target }: { target: HTMLInputElement }) => {
              chooseFile(target.files)
              // Otherwise choosing the same file again causes no change event.
              target.value = ''
            }} />
        </label>
        ${isFile && html`<span class="hint file">${image.file.name}</span>`}
        ${isFile && html`<button type="button" class="quiet" onClick=${remove}>Remove</button>`}
      </div>
      ${
        !isFile &&
        html`
          <input
            type="url" name="url" placeholder="or https://… of an image" aria-label="Address of the image" required
            aria-invalid=${message ? 'true' : undefined} value=${image.url}
            onInput=${(event: Event) => onImage({ url: (event.target as HTMLInputElement).value })} />
        `
      }
      ${message && html`<p id="image-fault" class="error">${message}</p>`}
    </fieldset>
  `
}

function Preview({ src, isFile }: { src: string; isFile: boolean }) {
  const [isBroken, setBroken] = useState(false)
  if (isBroken)
    return html`<span class="hint">${isFile ? 'This file can’t be shown as a picture.' : 'No picture can be seen at that address.'}</span>`
  return html`<img src=${src} alt="The chosen image" onError=${() => setBroken(true)} />`
}

/** URL of the preview; null if there is no image yet. */
function usePreview(image: ImageChoice): string | null {
  const [preview, setPreview] = useState<string | null>(null)
  const source = 'file' in image ? image.file : image.url
  useEffect(() => {
    if (typeof source === 'string') {
      // Waits until typing pauses, so that not every prefix of a URL is requested.
      const timer = setTimeout(() => setPreview(/^https?:\/\/[^/]/.test(source) ? source : null), 300)
      return () => clearTimeout(timer)
    }
    const url = URL.createObjectURL(source)
    setPreview(url)
    return () => URL.revokeObjectURL(url)
  }, [source])
  return preview
}
