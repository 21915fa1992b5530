CREATE TABLE `tagged` (
	`app_id` text NOT NULL,
	`tag` text NOT NULL,
	`created_at` integer NOT NULL,
	`prediction_id` text NOT NULL,
	PRIMARY KEY(`app_id`, `tag`, `created_at`, `prediction_id`)
) WITHOUT ROWID;
--> statement-breakpoint
CREATE INDEX `predictions_by_space` ON `predictions` (`app_id`,`space`,`created_at`,`id`) WHERE "space" <> '';--> statement-breakpoint
INSERT OR IGNORE INTO `tagged` (`app_id`, `tag`, `created_at`, `prediction_id`)
SELECT `predictions`.`app_id`, `json_each`.`value`, `predictions`.`created_at`, `predictions`.`id`
FROM `predictions`, json_each(`predictions`.`tags`);
