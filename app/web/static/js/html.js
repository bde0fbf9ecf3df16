// Preact and htm, bound to each other: `html` makes what Preact renders, with every value escaped.

import { Component, h, render } from "../vendor/preact-11.2.0.js";
import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../vendor/preact-hooks-11.2.0.js";
import htm from "../vendor/htm-3.1.1.js";

const html = htm.bind(h);

/**
 * A component that is rendered again only when one of its properties is another value.
 * @param {(props: any) => any} view
 */
function memo(view) {
  return class extends Component {
    /** @param {Record<string, unknown>} next */
    shouldComponentUpdate(next) {
      const before = /** @type {Record<string, unknown>} */ (this.props);
      const keys = Object.keys(next);
      return keys.length !== Object.keys(before).length || keys.some((key) => next[key] !== before[key]);
    }

    /** @param {any} props */
    render(props) {
      return h(view, props);
    }
  };
}

export { html, memo, render, useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState };
