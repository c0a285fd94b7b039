/** Random names, and bytes as text. */

export function randomHex(bytes: number): string {
  const values = crypto.getRandomValues(new Uint8Array(bytes));
  return Array.from(values, (value) => value.toString(16).padStart(2, "0")).join("");
}

/** The picture as a URL of its own: one of a blob would take the browser some 20 ms to load. */
export function dataUrl(picture: DataView): string {
  const bytes = new Uint8Array(picture.buffer, picture.byteOffset, picture.byteLength);
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192)
    text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return `data:image/*;base64,${btoa(text)}`;
}
