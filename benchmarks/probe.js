// Runs in every page that is measured, before the page's own scripts; the same for all of them.
window.kpBench = {
  received: [],

  /** Bytes of a canvas around a point of the window (CSS px). */
  patch(canvas, x, y, radius = 5) {
    const box = canvas.getBoundingClientRect();
    const left = Math.round(((x - box.left) * canvas.width) / box.width) - radius;
    const top = Math.round(((y - box.top) * canvas.height) / box.height) - radius;
    const side = 2 * radius + 1;
    return canvas.getContext('2d').getImageData(left, top, side, side).data;
  },

  isSame(a, b) {
    for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
    return true;
  },

  /** Resolves after the frame that is being made has been laid out and painted by this thread. */
  afterFrame() {
    return new Promise((resolve) => {
      const channel = new MessageChannel();
      channel.port1.onmessage = () => resolve(performance.now());
      channel.port2.postMessage(0);
    });
  },

  /**
   * Waits for the next press; what it gives: milliseconds from the event's own time stamp.
   *
   * Frames are asked for all the time, as they are under a moving mouse: a page at rest would begin
   * one out of turn as soon as something is drawn, which no display shows before its next refresh.
   */
  arm(selector, x, y, timeout) {
    const canvas = document.querySelector(selector);
    let pressed = null;
    let before = null;
    window.addEventListener(
      'pointerdown',
      (event) => {
        before = this.patch(canvas, x, y);
        pressed = event.timeStamp;
      },
      { capture: true, once: true },
    );
    const start = performance.now();
    this.result = new Promise((resolve) => {
      const look = async () => {
        const now = performance.now();
        if (pressed !== null && !this.isSame(before, this.patch(canvas, x, y))) {
          const painted = await this.afterFrame();
          resolve({ frame: now - pressed, painted: painted - pressed });
        } else if (now - (pressed ?? start) > timeout) resolve(null);
        else requestAnimationFrame(look);
      };
      requestAnimationFrame(look);
    });
  },

  /** Counts the frames in which a row of pixels of a canvas has changed, until `stop` is called. */
  watchRow(selector, y) {
    const canvas = document.querySelector(selector);
    const read = () => {
      const box = canvas.getBoundingClientRect();
      const row = Math.round(((y - box.top) * canvas.height) / box.height);
      return canvas.getContext('2d').getImageData(0, row, canvas.width, 1).data;
    };
    const watch = { times: [], frames: 0, isOn: true };
    let last = read();
    const look = () => {
      if (!watch.isOn) return;
      watch.frames += 1;
      const now = read();
      if (!this.isSame(last, now)) {
        watch.times.push(performance.now());
        last = now;
      }
      requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
    this.watch = watch;
  },

  unwatchRow() {
    this.watch.isOn = false;
    return { times: this.watch.times, frames: this.watch.frames };
  },

  /**
   * Runs a cell; gives the milliseconds until its output shows a picture of width x height: a still
   * image that is loaded and visible, or a canvas that is no longer transparent in the middle of the
   * picture. `canvas` is when the latter came, if a still was first. The ink is not counted.
   */
  runUntilPicture(path, index, width, height, timeout) {
    const cell = () =>
      document
        .querySelectorAll('.jp-Notebook .jp-Cell.jp-CodeCell')
        [index]?.querySelector('.jp-Cell-outputArea');
    // What the last run left must not be taken for this run's picture.
    const old = new Set(cell()?.querySelectorAll('canvas, img') ?? []);
    const has = (selector, isShown) =>
      [...(cell()?.querySelectorAll(selector) ?? [])].some((el) => !old.has(el) && isShown(el));
    const hasStill = () =>
      has(
        'img',
        (img) => img.complete && img.naturalWidth >= width / 2 && img.checkVisibility() &&
          img.getBoundingClientRect().width > 100,
      );
    const hasCanvas = () =>
      has('canvas:not(.kpwidget-ink)', (canvas) => {
        if (canvas.width < width / 2 || canvas.height < height / 2) return false;
        const x = Math.floor(width / 2);
        const y = Math.floor(height / 2);
        return canvas.getContext('2d').getImageData(x, y, 1, 1).data[3] > 0;
      });
    return new Promise((resolve) => {
      const start = performance.now();
      let shown = null;
      const look = async () => {
        const isCanvas = hasCanvas();
        if (isCanvas || (shown === null && hasStill())) {
          const now = (await this.afterFrame()) - start;
          shown ??= now;
          if (isCanvas) return resolve({ shown, canvas: now });
        }
        if (performance.now() - start > timeout) resolve(null);
        else requestAnimationFrame(look);
      };
      window.kpTest.start(path, index);
      requestAnimationFrame(look);
    });
  },

  /** Whether every thumbnail in sight is loaded, and there is one. */
  hasThumbnails() {
    const strip = document.querySelector('.kpwidget-strip');
    if (!strip) return false;
    const box = strip.getBoundingClientRect();
    const inSight = [...strip.querySelectorAll('.kpwidget-tile')].filter((tile) => {
      const { left, right } = tile.getBoundingClientRect();
      return right > box.left && left < box.right;
    });
    return (
      inSight.length > 0 &&
      inSight.every((tile) => {
        const img = tile.querySelector('img');
        return !tile.classList.contains('is-old') && img.complete && img.naturalWidth > 0;
      })
    );
  },

  /** Runs a cell; gives the milliseconds until the thumbnails of its viewer show. */
  runUntilThumbnails(path, index, timeout) {
    const old = document.querySelector('.kpwidget-strip');
    return new Promise((resolve) => {
      const start = performance.now();
      const look = async () => {
        const strip = document.querySelector('.kpwidget-strip');
        if (strip && strip !== old && this.hasThumbnails())
          return resolve((await this.afterFrame()) - start);
        if (performance.now() - start > timeout) resolve(null);
        else requestAnimationFrame(look);
      };
      window.kpTest.start(path, index);
      requestAnimationFrame(look);
    });
  },

  /** Waits for an event of a kind; its result: milliseconds from it until a canvas has changed. */
  armNext(selector, kind, timeout) {
    const canvas = document.querySelector(selector);
    const read = () =>
      canvas
        .getContext('2d')
        .getImageData(0, Math.floor(canvas.height / 2), canvas.width, 1).data;
    const before = read();
    let began = null;
    window.addEventListener(
      kind,
      (event) => {
        began = event.timeStamp;
      },
      { capture: true, once: true },
    );
    const start = performance.now();
    this.result = new Promise((resolve) => {
      const look = async () => {
        if (began !== null && !this.isSame(before, read()))
          return resolve((await this.afterFrame()) - began);
        if (performance.now() - start > timeout) resolve(null);
        else requestAnimationFrame(look);
      };
      requestAnimationFrame(look);
    });
  },

  /**
   * Waits until a canvas changes along its middle row; gives the milliseconds from the first
   * websocket message of at least `bytes` after this call until the frame is painted.
   */
  waitRedraw(selector, index, bytes, timeout) {
    const canvas = document.querySelectorAll(selector)[index];
    const read = () =>
      canvas
        .getContext('2d')
        .getImageData(0, Math.floor(canvas.height / 4), canvas.width, 1).data;
    const before = read();
    const start = performance.now();
    this.received.length = 0;
    this.result = new Promise((resolve) => {
      const look = async () => {
        if (!this.isSame(before, read())) {
          const painted = await this.afterFrame();
          const first = this.received.find(([, size]) => size >= bytes);
          resolve({ painted: painted - (first?.[0] ?? start), bytes: first?.[1] ?? 0 });
        } else if (performance.now() - start > timeout) resolve(null);
        else requestAnimationFrame(look);
      };
      requestAnimationFrame(look);
    });
  },
};

// The time at which a message reaches the page, before JupyterLab has it.
window.WebSocket = class extends window.WebSocket {
  constructor(...args) {
    super(...args);
    this.addEventListener('message', ({ data }) => {
      window.kpBench.received.push([performance.now(), data.byteLength ?? data.length ?? 0]);
    });
  }
};
