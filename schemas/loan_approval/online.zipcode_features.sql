CREATE TABLE "zipcode_features__df5c02d1" (
  "zipcode" INTEGER NOT NULL, -- key bigint
  "tl_event_us" INTEGER,
  "tl_known_us" INTEGER,
  "tl_valid_until_us" INTEGER,
  "tl_write_us" INTEGER NOT NULL,
  "tl_deleted" INTEGER NOT NULL,
  "city" TEXT, -- feature string
  "location_type" TEXT, -- feature string
  "population" INTEGER, -- feature bigint
  "state" TEXT, -- feature string
  "tax_returns_filed" INTEGER, -- feature bigint
  "total_wages" INTEGER, -- feature bigint
  "tl_state" BLOB,
  PRIMARY KEY ("zipcode")
) STRICT;
