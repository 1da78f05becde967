"""Accessibility checks in Chromium: text contrast, names of pictures and controls, and use with the keyboard."""

from typing import Any

# WCAG 2.1: contrast of text 4.5, of large text 3 (24 px, or 18.66 px and bold).
_FAINT = """() => {
  const linear = (v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
  const light = (c) => 0.2126 * linear(c[0]) + 0.7152 * linear(c[1]) + 0.0722 * linear(c[2]);
  const rgba = (text) => {
    const parts = text.match(/[\\d.]+/g).map(Number);
    const scale = text.startsWith("color(srgb") ? 255 : 1;
    return [...parts.slice(0, 3).map((v) => v * scale), parts[3] ?? 1];
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3]));
  const base = document.querySelector(".dark") ? [0, 0, 0] : [255, 255, 255];
  const faint = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const text = texts.currentNode.textContent.trim();
    const node = texts.currentNode.parentElement;
    const seen = node.checkVisibility({ opacityProperty: true, visibilityProperty: true });
    if (!text || !seen || node.closest("script, style, noscript")) continue;
    if (node.closest(":disabled, label:has(:disabled) span, .unused, .sr")) continue;
    const layers = [];
    let opacity = 1;
    for (let up = node; up; up = up.parentElement) {
      const style = getComputedStyle(up);
      opacity *= Number(style.opacity);
      layers.unshift(rgba(style.backgroundColor));
      if (layers[0][3] === 1) break;
    }
    const ground = layers.reduce((below, top) => over(top, below), base);
    const style = getComputedStyle(node);
    const ink = rgba(style.color);
    const shown = over([...ink.slice(0, 3), ink[3] * opacity], ground);
    const [high, low] = [light(shown), light(ground)].sort((a, b) => b - a);
    const size = parseFloat(style.fontSize);
    const needed = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 600) ? 3 : 4.5;
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < needed) faint.push(`${text.slice(0, 40)}: ${ratio.toFixed(2)} in ${node.tagName}.${node.className}`);
  }
  return faint;
}"""

_UNNAMED = """() => {
  const hidden = (node) => !node.checkVisibility() || node.closest("[aria-hidden=true]");
  const words = (node) => [
    node.getAttribute("aria-label"), node.title, node.alt, node.placeholder, node.innerText,
    ...[...(node.labels ?? [])].map((label) => label.innerText),
    ...(node.getAttribute("aria-labelledby") ?? "").split(" ").map((id) => document.getElementById(id)?.innerText),
    node.closest("label, fieldset, .block")?.innerText,
  ].filter((text) => text?.trim());
  const all = (selector) => [...document.querySelectorAll(selector)].filter((node) => !hidden(node));
  const pictures = all("img, [role=img]");
  const controls = all("button, input, select, textarea, a[href]");
  return [
    ...pictures.filter((node) => !(node.alt ?? node.getAttribute("aria-label"))?.trim()),
    ...controls.filter((node) => !words(node).length),
  ].map((node) => node.outerHTML.slice(0, 120));
}"""

_STOPS = """() => {
  window.stops = new Set();
  document.addEventListener("focusin", (event) => window.stops.add(event.target));
  document.activeElement?.blur();
}"""

# A group of radio buttons or a tab bar has one tab stop; arrow keys move inside it.
_MISSED = """() => {
  const wanted = "button, input, select, textarea, a[href], summary, [tabindex='0']";
  const group = (node) => (node.type === "radio" ? node.name || node.closest("fieldset") : null);
  const groups = new Set([...window.stops].map(group).filter(Boolean));
  return [...document.querySelectorAll(wanted)].filter((node) => {
    if (!node.checkVisibility() || node.disabled || node.closest("[aria-hidden=true]")) return false;
    if (window.stops.has(node) || groups.has(group(node))) return false;
    return node.tabIndex >= 0;
  }).map((node) => node.outerHTML.slice(0, 120));
}"""


def faint_texts(tab: Any) -> list[str]:
    """Visible texts with less contrast to their background than WCAG level AA requires."""
    return list(tab.evaluate(_FAINT))


def unnamed(tab: Any) -> list[str]:
    """Pictures without alternative text, and controls without an accessible name."""
    return list(tab.evaluate(_UNNAMED))


def missed_by_keyboard(tab: Any, presses: int = 250) -> list[str]:
    """Controls that the Tab key cannot reach."""
    tab.evaluate(_STOPS)
    for _ in range(presses):
        tab.keyboard.press("Tab")
    return list(tab.evaluate(_MISSED))
