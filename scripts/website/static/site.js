// The theme's buttons that unfold a part of the navigation have no name for who listens to the page.
for (const button of document.querySelectorAll("summary:has(> .toctree-toggle)")) {
  const page = button.closest("li").querySelector("a");
  button.setAttribute("aria-label", `Pages below ${page.textContent.trim()}`);
}
