"""What a person can try on the services that run here: commands to paste, and pages to open."""

from dataclasses import dataclass

from local_stack.asking import ServiceClient

PIPELINE = "cj_assessment"
PAGES = {
    "/demo?batch={batch_id}": "a page that does the same: sign in with the token",
    "/docs": "the API, to be tried out",
}


@dataclass(frozen=True, kw_only=True)
class Invitation:
    """A batch that nothing has been done to, and a token by which its teacher is believed."""

    batch_id: str
    teacher: str
    token: str

    def write(self, gateway: ServiceClient) -> str:
        """Return the text. A page is named only where the gateway has it."""
        batch = f"{gateway.url}/v1/batches/{self.batch_id}"
        pages = {path.format(batch_id=self.batch_id): what for path, what in PAGES.items()}
        shown = [
            f"  {gateway.url}{path}  {what}" for path, what in pages.items() if gateway.has(path)
        ]
        body = f'{{"requested_pipeline": "{PIPELINE}"}}'
        lines = [
            f"Batch {self.batch_id} is ready. Ask for {PIPELINE} as {self.teacher}, and watch:",
            "",
            f"  TOKEN={self.token}",
            f'  curl -s {batch}/pipelines -H "Authorization: Bearer $TOKEN" \\',
            f"    -H 'Content-Type: application/json' -d '{body}'",
            f'  curl -sN {batch}/events -H "Authorization: Bearer $TOKEN"',
            "",
            *shown,
        ]
        return "\n".join(lines)
