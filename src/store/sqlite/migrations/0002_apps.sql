CREATE TABLE `spending` (
	`app_id` text NOT NULL,
	`month` integer NOT NULL,
	`spent` integer NOT NULL,
	PRIMARY KEY(`app_id`, `month`),
	FOREIGN KEY (`app_id`) REFERENCES `apps`(`id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
DROP INDEX `predictions_by_idempotency_key`;--> statement-breakpoint
ALTER TABLE `predictions` ADD `space` text DEFAULT '' NOT NULL;--> statement-breakpoint
ALTER TABLE `predictions` ADD `token` text;--> statement-breakpoint
CREATE INDEX `predictions_by_token` ON `predictions` (`token`) WHERE "token" is not null;--> statement-breakpoint
CREATE INDEX `predictions_waiting` ON `predictions` (`app_id`,"image_tries" > 0,`created_at`,`id`) WHERE "status" = 'QUEUED' and "submission" = 'none';--> statement-breakpoint
CREATE UNIQUE INDEX `predictions_by_idempotency_key` ON `predictions` (`app_id`,`space`,`idempotency_key`);--> statement-breakpoint
ALTER TABLE `apps` ADD `turn` real DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE `apps` ADD `queued_since` integer DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE `apps` ADD `is_new` integer DEFAULT false NOT NULL;--> statement-breakpoint
INSERT INTO `spending` (`app_id`, `month`, `spent`)
SELECT `app_id`, CAST(strftime('%s', `created_at` / 1000, 'unixepoch', 'start of month') AS INTEGER) * 1000, sum(`cost`)
FROM `predictions` GROUP BY 1, 2;
