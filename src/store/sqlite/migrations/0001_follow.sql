CREATE TABLE `pace` (
	`only` integer PRIMARY KEY NOT NULL,
	`concurrency` integer NOT NULL,
	`ceiling` integer NOT NULL,
	`accepted` integer NOT NULL,
	`since` integer NOT NULL
);
--> statement-breakpoint
DROP INDEX `predictions_in_flight`;--> statement-breakpoint
ALTER TABLE `predictions` ADD `following` text;--> statement-breakpoint
ALTER TABLE `predictions` ADD `image_seen_at` integer;--> statement-breakpoint
ALTER TABLE `predictions` ADD `image_tries` integer DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE `predictions` ADD `running_at` integer;--> statement-breakpoint
CREATE INDEX `predictions_seen` ON `predictions` (`image_seen_at`) WHERE "status" = 'QUEUED' and "submission" = 'none';--> statement-breakpoint
CREATE INDEX `predictions_overdue` ON `predictions` (`submitted_at`) WHERE "following" = 'closely';--> statement-breakpoint
CREATE INDEX `predictions_followed` ON `predictions` (`due_at`) WHERE "submission" = 'accepted' and "following" is not null;--> statement-breakpoint
CREATE INDEX `predictions_sought` ON `predictions` (`due_at`) WHERE "submission" = 'unknown' and "following" is not null;--> statement-breakpoint
CREATE INDEX `predictions_unanswered` ON `predictions` (`model`,`begun_at`) WHERE "submission" in ('begun', 'unknown');--> statement-breakpoint
CREATE INDEX `predictions_in_flight` ON `predictions` (`app_id`) WHERE "following" = 'closely';--> statement-breakpoint
UPDATE `predictions` SET `following` = 'closely' WHERE `submission` = 'accepted' and `status` in ('CREATED', 'PROCESSING');--> statement-breakpoint
UPDATE `predictions` SET `following` = 'late', `due_at` = 0 WHERE `submission` = 'unknown';
