CREATE TABLE "household_recent__5e9420c4" (
  "household_id" TEXT NOT NULL, -- key string
  "tl_event_us" INTEGER,
  "tl_known_us" INTEGER,
  "tl_valid_until_us" INTEGER,
  "tl_write_us" INTEGER NOT NULL,
  "tl_deleted" INTEGER NOT NULL,
  "energy_first_14d" REAL, -- feature double
  "energy_first_2d" REAL, -- feature double
  "energy_first_7d" REAL, -- feature double
  "energy_max" REAL, -- feature double
  "energy_mean_28d" REAL, -- feature double
  "energy_mean_7d" REAL, -- feature double
  "energy_min" REAL, -- feature double
  "energy_std" REAL, -- feature double
  "energy_sum" REAL, -- feature double
  "tl_state" BLOB,
  PRIMARY KEY ("household_id")
) STRICT;
