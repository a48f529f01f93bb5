from django.test import TestCase


class GuestBook(TestCase):
    def test_an_entry_is_shown_to_the_next_visitor(self):
        answer = self.client.post("/", {"name": "Ann", "text": "What a lovely <b>place</b>"}, follow=True)
        self.assertContains(answer, "What a lovely &lt;b&gt;place&lt;/b&gt;")

    def test_an_empty_entry_is_refused_with_a_word(self):
        answer = self.client.post("/", {"name": "", "text": ""})
        self.assertContains(answer, "This field is required", count=2)

    def test_every_visit_is_counted(self):
        first = self.client.get("/whoami").json()["visits"]
        self.assertEqual(self.client.get("/whoami").json()["visits"], first + 1)
