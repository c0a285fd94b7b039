/** A magnified view of what is at the pointer, from the picture that is on the page. */

import type { Size, Xy } from "./viewport";

/** Side in CSS px; odd, so that the point aimed at is the middle of a pixel. */
const SIDE = 133;
/** Its rim, in CSS px; as in style.css. */
const RIM = 3;
/** From the point aimed at, in CSS px: neither the pointer nor a finger covers it. */
const AWAY = 32;

/** What a layer of the page is drawn on. */
type Picture = HTMLCanvasElement | HTMLImageElement;

/** How many times larger than on the stage, at `scale` CSS px per image px: 4 to 8 times. */
export function magnification(scale: number): number {
  // An image pixel is to be 8 CSS px wide, as far as that leaves the neighbourhood recognisable.
  return Math.min(8, Math.max(4, 8 / scale));
}

/** Where the loupe lies: beside the point and above it, on the other side near a border. */
export function placeLoupe(at: Xy, stage: Size): Xy {
  const isRight = at.x + AWAY + SIDE <= stage.w || at.x < stage.w / 2;
  const x = isRight ? at.x + AWAY : at.x - AWAY - SIDE;
  // It lies to one side of the point, so it may come down beside it.
  const y = Math.max(RIM, Math.min(stage.h - SIDE - RIM, at.y - AWAY - SIDE));
  return { x: Math.round(x), y: Math.round(y) };
}

export class Loupe {
  private readonly picture = document.createElement("canvas");
  private readonly frame = document.createElement("div");

  constructor(stage: HTMLElement) {
    this.frame.className = "kpwidget-loupe";
    this.frame.setAttribute("aria-hidden", "true");
    this.frame.append(this.picture);
    stage.append(this.frame);
  }

  remove(): void {
    this.frame.remove();
  }

  /**
   * Shows what is at `at`, in CSS px of the stage; null hides the loupe.
   *
   * `pictures` are those on the stage, from below; where they lie is asked of the page.
   */
  show(
    at: Xy | null,
    stage: { readonly size: Size; readonly corner: Xy; readonly dpr: number },
    scale: number,
    pictures: readonly Picture[],
    filter: string,
  ): void {
    this.frame.hidden = at === null;
    if (!at) return;
    const side = Math.round(SIDE * stage.dpr);
    if (this.picture.width !== side) this.picture.width = this.picture.height = side;
    const ctx = this.picture.getContext("2d");
    if (!ctx) return;
    const { x, y } = placeLoupe(at, stage.size);
    this.frame.style.transform = `translate(${x}px, ${y}px)`;
    if (this.picture.style.filter !== filter) this.picture.style.filter = filter;
    ctx.clearRect(0, 0, side, side);
    ctx.imageSmoothingEnabled = false;
    const reach = SIDE / magnification(scale); // what is shown of the stage, in CSS px
    for (const picture of pictures) {
      const box = picture.getBoundingClientRect();
      const [w, h] =
        picture instanceof HTMLImageElement
          ? [picture.naturalWidth, picture.naturalHeight]
          : [picture.width, picture.height];
      if (!box.width || !box.height || !w || !h) continue;
      const [kx, ky] = [w / box.width, h / box.height];
      const left = at.x - reach / 2 - (box.left - stage.corner.x);
      const top = at.y - reach / 2 - (box.top - stage.corner.y);
      ctx.drawImage(picture, left * kx, top * ky, reach * kx, reach * ky, 0, 0, side, side);
    }
  }
}
