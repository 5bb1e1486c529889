// The page's elements.

export const byId = (id) => document.getElementById(id);

// Changes only what differs, so that screen readers and selections are left alone.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// A name that may be long: it breaks after dots, slashes and hyphens first.
export function setName(element, name) {
  const parts = name.split(/(?<=[./-])/);
  element.replaceChildren(...parts.flatMap((part, index) => (index ? [document.createElement("wbr"), part] : [part])));
}
