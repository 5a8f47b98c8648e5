// Shows how a running job goes, and loads the page anew when it has ended.
"use strict";

for (const job of document.querySelectorAll(".job[data-status=running]")) {
  const lines = job.querySelector(".lines");
  const look = async () => {
    try {
      const answer = await fetch("/job?name=" + encodeURIComponent(job.dataset.job));
      const told = await answer.json();
      if (told.status !== "running") {
        location.reload();
        return;
      }
      lines.textContent = told.lines.join("\n");
      lines.scrollTop = lines.scrollHeight;
    } catch {
      lines.textContent += "\nthe pages do not answer";
    }
    setTimeout(look, 1000);
  };
  setTimeout(look, 500);
}
