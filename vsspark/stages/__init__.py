"""The stages of the main job in the order the data walks through them, each from the tables of the one before."""

from vsspark.stages.check import check_stage as check_stage
from vsspark.stages.check import nothing_changed as nothing_changed
from vsspark.stages.embed import embed_stage as embed_stage
from vsspark.stages.ingest import ingest_stage as ingest_stage
from vsspark.stages.neighbours import neighbours_stage as neighbours_stage
from vsspark.stages.publish import check_followers as check_followers
from vsspark.stages.publish import finish as finish
from vsspark.stages.publish import finish_owed as finish_owed
from vsspark.stages.publish import publish_stage as publish_stage
