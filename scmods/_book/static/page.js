// Names for the theme's controls that have none, or one that differs from what is seen.
document.addEventListener("DOMContentLoaded", () => {
  for (const summary of document.querySelectorAll("nav details > summary:not([aria-label])")) {
    const link = summary.closest("li")?.querySelector("a");
    summary.setAttribute("aria-label", link ? `Pages below: ${link.textContent.trim()}` : "Pages below");
  }
  for (const el of document.querySelectorAll("details.hide > summary[aria-label], .search-button-field[aria-label]")) {
    el.removeAttribute("aria-label");
  }
  // the roles of docutils for a list of references are no longer part of the standard
  for (const el of document.querySelectorAll("[role='doc-biblioentry'], .citation-list[role='list']")) el.removeAttribute("role");
});
