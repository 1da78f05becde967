// What the page's scripts share: app/markup.py puts it before each of them.

const find = (selector) => element.querySelector(selector);

function make(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}
