from django.db import migrations, models


def add_counter(apps, schema_editor):
    apps.get_model("guestbook", "Visits").objects.create(pk=1, count=0)


class Migration(migrations.Migration):
    initial = True

    operations = [
        migrations.CreateModel(
            name="Entry",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=80)),
                ("text", models.TextField(max_length=1000)),
                ("written_at", models.DateTimeField(auto_now_add=True)),
            ],
            options={"ordering": ("-written_at", "-id"), "verbose_name_plural": "entries"},
        ),
        migrations.CreateModel(
            name="Visits",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("count", models.PositiveBigIntegerField(default=0)),
            ],
        ),
        migrations.RunPython(add_counter, migrations.RunPython.noop),
    ]
