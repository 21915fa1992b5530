-- Existing events get the versions 1, 2, 3 … of their prediction, and a prediction that of its newest event.
ALTER TABLE `predictions` ADD `version` integer DEFAULT 1 NOT NULL;--> statement-breakpoint
UPDATE `events` SET `state` = json_set(`state`, '$.version', (SELECT count(*) FROM `events` `earlier` WHERE `earlier`.`prediction_id` = `events`.`prediction_id` AND `earlier`.`seq` <= `events`.`seq`));--> statement-breakpoint
UPDATE `predictions` SET `version` = (SELECT count(*) FROM `events` WHERE `prediction_id` = `predictions`.`id`) WHERE `id` IN (SELECT `prediction_id` FROM `events`);
