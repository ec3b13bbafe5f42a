// What stands behind the `#` of an invitation's link is sent with the password, and to nobody else.
const form = document.getElementById("join");
const said = document.getElementById("said");
const token = location.hash.slice(1);

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const password = form.elements.password.value;
  if (password !== form.elements.again.value) {
    said.textContent = "The two are not the same.";
    return;
  }
  try {
    const answer = await fetch("/api/v1/invitations/accept", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ token, password }),
    });
    const body = await answer.json();
    if (answer.ok) {
      form.remove();
      history.replaceState(null, "", location.pathname);
      said.textContent = `Done: log in as ${body.name}.`;
    } else {
      said.textContent = [body.detail, body.remedy].filter(Boolean).join(": ");
    }
  } catch {
    said.textContent = "Farebox could not be reached. Try again.";
  }
});
