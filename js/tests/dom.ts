/** What jsdom lacks: sizes, pointers, canvases, observers. */

import { vi } from "vitest";

/** One call or assignment on a drawing context. */
export type Drawn = readonly [name: string, ...values: unknown[]];

/** A 2D context that writes down what is drawn with which style. */
export class RecordingContext {
  readonly log: Drawn[] = [];
  private readonly styles: Record<string, unknown> = { lineWidth: 1 };

  constructor() {
    // biome-ignore lint/correctness/noConstructorReturn: a proxy is the recording
    return new Proxy(this, {
      get: (target, name: string) => {
        if (name === "log") return target.log;
        if (name in target.styles) return target.styles[name];
        return (...values: unknown[]) => {
          target.log.push([name, ...values]);
        };
      },
      set: (target, name: string, value: unknown) => {
        target.styles[name] = value;
        target.log.push([`${name}=`, value]);
        return true;
      },
    });
  }
}

/** Gives every canvas a recording context; returns where they are found. */
export function stubCanvas(): (canvas: HTMLCanvasElement) => RecordingContext {
  const contexts = new WeakMap<HTMLCanvasElement, RecordingContext>();
  const of = (canvas: HTMLCanvasElement): RecordingContext => {
    const found = contexts.get(canvas) ?? new RecordingContext();
    contexts.set(canvas, found);
    return found;
  };
  vi.spyOn(HTMLCanvasElement.prototype, "getContext").mockImplementation(function (
    this: HTMLCanvasElement,
  ) {
    return of(this) as never;
  } as never);
  return of;
}

/** A stage of so many CSS px, observers that never fire by themselves, frames at once. */
export function stubPage(w: number, h: number): { frames: () => void } {
  vi.spyOn(HTMLElement.prototype, "clientWidth", "get").mockReturnValue(w);
  vi.spyOn(HTMLElement.prototype, "clientHeight", "get").mockReturnValue(h);
  vi.stubGlobal(
    "ResizeObserver",
    class {
      observe() {}
      unobserve() {}
      disconnect() {}
    },
  );
  vi.stubGlobal("matchMedia", () => new EventTarget());
  const waiting: FrameRequestCallback[] = [];
  vi.stubGlobal("requestAnimationFrame", (run: FrameRequestCallback) => waiting.push(run));
  return {
    frames: () => {
      for (let i = 0; waiting.length > 0 && i < 20; i++)
        for (const run of waiting.splice(0)) run(performance.now());
    },
  };
}

export function pointer(
  target: EventTarget,
  type: string,
  x: number,
  y: number,
  more: PointerEventInit = {},
): PointerEvent {
  const event = new PointerEvent(type, {
    bubbles: true,
    cancelable: true,
    clientX: x,
    clientY: y,
    pointerId: 1,
    pointerType: "mouse",
    ...more,
  });
  target.dispatchEvent(event);
  return event;
}

export function wheel(target: EventTarget, deltaY: number, more: WheelEventInit = {}): WheelEvent {
  const event = new WheelEvent("wheel", { bubbles: true, cancelable: true, deltaY, ...more });
  target.dispatchEvent(event);
  return event;
}

export function key(
  target: EventTarget,
  name: string,
  more: KeyboardEventInit = {},
): KeyboardEvent {
  const event = new KeyboardEvent("keydown", {
    key: name,
    bubbles: true,
    cancelable: true,
    ...more,
  });
  target.dispatchEvent(event);
  return event;
}

/** Counts the listeners that are on an EventTarget now. */
export function watchListeners(): { live(): string[] } {
  const live = new Map<string, number>();
  const names = new WeakMap<object, string>();
  const bySignal = new WeakMap<AbortSignal, string[]>();
  let n = 0;
  const nameOf = (on: unknown, type: string, callback: unknown) => {
    for (const part of [on, callback])
      if (part !== null && (typeof part === "object" || typeof part === "function"))
        if (!names.has(part)) names.set(part, String(++n));
    const at = on as { constructor: { name: string } };
    return `${at.constructor.name}#${names.get(on as object)} ${type} ${names.get(callback as object)}`;
  };
  const { addEventListener, removeEventListener } = EventTarget.prototype;
  vi.spyOn(EventTarget.prototype, "addEventListener").mockImplementation(function (
    this: EventTarget,
    type,
    callback,
    options,
  ) {
    addEventListener.call(this, type, callback, options);
    if (type === "abort") return;
    const name = nameOf(this, type, callback);
    live.set(name, (live.get(name) ?? 0) + 1);
    const signal = typeof options === "object" ? options?.signal : undefined;
    if (!signal) return;
    const ending = bySignal.get(signal) ?? [];
    // One listener a signal: Node warns of more than ten.
    if (ending.length === 0)
      signal.addEventListener("abort", () => {
        for (const ended of ending) live.delete(ended);
      });
    ending.push(name);
    bySignal.set(signal, ending);
  });
  vi.spyOn(EventTarget.prototype, "removeEventListener").mockImplementation(function (
    this: EventTarget,
    type,
    callback,
    options,
  ) {
    removeEventListener.call(this, type, callback, options);
    live.delete(nameOf(this, type, callback));
  });
  return { live: () => [...live.keys()] };
}
