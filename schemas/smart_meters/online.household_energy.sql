CREATE TABLE "household_energy__a024b785" (
  "household_id" TEXT NOT NULL, -- key string
  "tl_event_us" INTEGER,
  "tl_known_us" INTEGER,
  "tl_valid_until_us" INTEGER,
  "tl_write_us" INTEGER NOT NULL,
  "tl_deleted" INTEGER NOT NULL,
  "energy_count_1yr" INTEGER, -- feature bigint
  "energy_count_3months" INTEGER, -- feature bigint
  "energy_count_6months" INTEGER, -- feature bigint
  "energy_max_1yr" REAL, -- feature double
  "energy_max_3months" REAL, -- feature double
  "energy_max_6months" REAL, -- feature double
  "energy_mean_1yr" REAL, -- feature double
  "energy_mean_3months" REAL, -- feature double
  "energy_mean_6months" REAL, -- feature double
  "energy_stddev_1yr" REAL, -- feature double
  "energy_stddev_3months" REAL, -- feature double
  "energy_stddev_6months" REAL, -- feature double
  "energy_sum_1yr" REAL, -- feature double
  "energy_sum_3months" REAL, -- feature double
  "energy_sum_6months" REAL, -- feature double
  "tl_state" BLOB,
  PRIMARY KEY ("household_id")
) STRICT;
