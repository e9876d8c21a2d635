"""Images in requests."""

from pydantic import Field

from service.settings.section import Section


class ImageSettings(Section):
    max_bytes: int = Field(10 * 1024 * 1024, ge=1, description="The most bytes of one encoded image.")
