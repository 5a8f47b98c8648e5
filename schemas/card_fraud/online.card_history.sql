CREATE TABLE "card_history__91e78b3f" (
  "cc_num" INTEGER NOT NULL, -- key bigint
  "tl_event_us" INTEGER,
  "tl_known_us" INTEGER,
  "tl_valid_until_us" INTEGER,
  "tl_write_us" INTEGER NOT NULL,
  "tl_deleted" INTEGER NOT NULL,
  "avg_amt_last_1w" REAL, -- feature double
  "num_trans_last_1w" INTEGER, -- feature bigint
  "tl_state" BLOB,
  PRIMARY KEY ("cc_num")
) STRICT;
