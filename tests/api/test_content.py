"""Content in its two spellings."""

from service.api.content import ImageContentItem, ImageUrl, TextContentItem, content_items

PICTURE = ImageContentItem(source=ImageUrl(url="https://example.com/cat.png"))


def test_a_string_is_one_text_item() -> None:
    assert content_items("Hi") == (TextContentItem(text="Hi"),)


def test_items_stay_in_their_order() -> None:
    items = (TextContentItem(text="Look:"), PICTURE, TextContentItem(text="Nice?"))
    assert content_items(items) == items
