CREATE TABLE "card_activity__4213bebd" (
  "cc_num" INTEGER NOT NULL, -- key bigint
  "tl_event_us" INTEGER,
  "tl_known_us" INTEGER,
  "tl_valid_until_us" INTEGER,
  "tl_write_us" INTEGER NOT NULL,
  "tl_deleted" INTEGER NOT NULL,
  "avg_amt_last_10m" REAL, -- feature double
  "num_trans_last_10m" INTEGER, -- feature bigint
  "tl_state" BLOB,
  PRIMARY KEY ("cc_num")
) STRICT;
