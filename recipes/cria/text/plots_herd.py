"""Plots of the grassland: getting lost, weather, friends, fear, sharing. See stories.py for slots."""

# ruff: noqa: E501 (a template stays on one line)

from __future__ import annotations

from text.core import Script

LOST_THING = Script(
    "lost thing",
    (
        (
            "{hero} had a(n) {adj} {object} and <carried it everywhere|took it wherever {he} went|never went out without it>.",
            "The thing {he} loved most was a(n) {adj} {object} <from {his} grandmother|that {his} mother had given {him}|that {he} had found in the grass>.",
            "{his} <best|dearest> treasure was a(n) {adj} {object}.",
        ),
        (
            "One <morning|evening|windy day>, the {object} was gone.",
            "One day {he} woke up and could not find the {object}.",
            "But one <cold|gray|windy> day the {object} was <nowhere to be seen|not in its place>.",
        ),
        (
            '"Where is my {object}?" cried {hero}.',
            "{hero} looked <under every stone|behind every bush|in every corner>, but it was not there.",
            "{he} looked at {place} and then at {place2}, but found <nothing|only sand and wind>.",
            "{he} felt so sad that {he} could not eat.",
        ),
        (
            'Then {he} met {helper_intro}. "Have you seen my {object}?" asked {hero}.',
            "On the way {he} met {helper_intro}, and {he} told the whole story.",
            '{helper_intro} came by and asked, "Why do you look so sad?"',
        ),
        (
            '"Let us <think|be calm and think>," said {helper}. "Where did you have it last?"',
            '"I will help you," said {helper}. "<Four eyes see more than two|Two can look in more places than one>."',
            '"Do not cry," said {helper}. "We will look together."',
        ),
        (
            "{hero} thought and thought. {he} had stopped to drink near {place2}.",
            "They walked slowly back the way {hero} had come.",
            "Together they went to {place2} and looked at the ground, step by step.",
        ),
        (
            "And there it was, <half hidden in the grass|shining in the sun|lying beside a white stone>: the {object}!",
            "There, <under a bush|between two stones|next to the path>, lay the {object}.",
            "Soon {helper} called out, and there was the {object}, <wet with dew|a little dusty but whole|safe and sound>.",
        ),
        (
            '"Thank you!" said {hero}. "I could not have found it alone."',
            "{hero} <jumped for joy|danced in a circle> and thanked {helper} again and again.",
            "{hero} held the {object} close and smiled at {helper}.",
        ),
        (
            "From that day on, {he} always put the {object} back in its place.",
            "And whenever somebody lost something, {hero} was the first to help.",
            "That night {hero} slept well, with the {object} beside {him}.",
            "And {hero} and {helper} were friends from then on.",
        ),
    ),
)

FOG = Script(
    "fog",
    (
        (
            "One <morning|afternoon>, {he} <followed a butterfly|followed a strange sound|went to look for flowers> and walked too far from home.",
            "One day {he} wanted to see what was behind {place}, and {he} went there without telling anybody.",
        ),
        (
            "Then the fog came down, <white and thick|as thick as wool>, and {he} could not see {his} own feet.",
            "A thick fog rolled over the grass, and soon everything was white.",
        ),
        (
            '"Where am I?" whispered {hero}. Nobody answered.',
            "{hero} called and called, but only the wind answered.",
            "{he} walked in a circle and came back to the same stone three times.",
        ),
        (
            "{he} was cold, and {he} was afraid.",
            "{he} sat down beside a rock and tried not to cry.",
            "",
        ),
        (
            "Just then {he} heard a voice. It was {helper_intro}.",
            "After a while somebody came through the fog. It was {helper_intro}.",
            "Then {helper_intro} stood before {him}, quite calm.",
        ),
        (
            '"<When you cannot see, listen|Close your eyes and listen>," said {helper}. "Do you hear the river? Your home is that way."',
            '"Stay close to me," said {helper}. "I know every stone of this path."',
            '"Do not run," said {helper}. "Whoever runs in the fog gets lost twice."',
        ),
        (
            "Step by step they went past {place2} and <over the hill|along the stream|through the cold grass>.",
            "They walked slowly, side by side, until they came to {place2}.",
        ),
        (
            "When the fog lifted, {hero} saw {his} home and <ran the last part of the way|hummed with joy>.",
            "At last {he} heard a soft hum. It was {his} mother, calling {him}.",
            "Then the sun came out, and there was home, as if it had never been away.",
        ),
        (
            '"Next time, tell us where you go," said {his} mother, and she was not angry for long.',
            '"You are safe now," said {his} mother. {hero} thanked {helper} with all {his} heart.',
            "{hero} thanked {helper} and promised not to go so far alone again.",
        ),
        (
            "And when another little one was lost in the fog, {hero} knew what to do.",
            "Since then {hero} is not afraid of the fog. {he} stops, and {he} listens.",
            "",
        ),
    ),
)

SHARING = Script(
    "sharing",
    (
        (
            "It had not rained for <many weeks|two long months>, and the grass was dry.",
            "That winter there was little to eat, and everybody was hungry.",
            "The stream was dry, and the grass was yellow and thin.",
        ),
        (
            "But {hero} knew a place near {place} where <a few green plants still grew|there was still some food>.",
            "Only {hero} had something left: a small sack of {food}.",
            "{hero} had saved some {food} for bad days.",
        ),
        (
            '"If I tell the others, there will be less for me," thought {hero}, and {he} told nobody.',
            "{he} wanted to keep it all for {himself}.",
            "{he} hid it well and ate alone, every evening.",
        ),
        (
            "One evening {helper_intro} came by, so weak that it was hard to walk.",
            "Then {he} met {helper_intro}, thin and tired, resting beside a stone.",
        ),
        (
            '"Have you anything to eat?" asked {helper} in a low voice.',
            '"I have walked all day and found nothing," said {helper}.',
        ),
        (
            "{hero} looked at {helper} and felt <ashamed|sorry>.",
            "{hero} was quiet for a long time.",
            "For a moment {hero} wanted to say no. Then {he} thought again.",
        ),
        (
            '"Come," {he} said. "There is enough for two."',
            '"Take half," said {hero}. "It is not much, but it is good."',
            '"Eat with me," said {hero}, and they sat down together.',
        ),
        (
            "The next day they called the others too, and everybody got a little.",
            "They shared it with all the neighbors, and nobody went to sleep hungry.",
            "It tasted better than all the meals {he} had eaten alone.",
        ),
        (
            "A few days later, <the clouds came|the rain came>, and the puna turned green again.",
            "Soon the rain came back, and there was plenty for all.",
            'In spring {helper} brought {hero} a big basket of good things and said, "This is for you."',
        ),
        (
            "What you share comes back to you.",
            "{hero} never ate alone again.",
            "And {hero} learned that a shared meal is twice as good.",
        ),
    ),
)

STORM = Script(
    "storm",
    (
        (
            "One evening dark clouds came over {place}, and the wind began to <howl|blow hard>.",
            "The air smelled of snow, and the birds flew low.",
            "One night a great storm came down from the mountains.",
        ),
        (
            "{hero} was far from home, at {place2}, when the first <snow fell|hail fell|thunder rolled>.",
            "{hero} ran to find a dry place, but the way home was long.",
        ),
        (
            "Behind a rock {he} found {helper_intro}, wet and shaking.",
            "Under a bush sat {helper_intro}, too cold to speak.",
            "On the path {he} heard a small voice. It was {helper_intro}, alone in the storm.",
        ),
        (
            '"Come with me," said {hero}. "I know a dry cave."',
            '"You cannot stay here," said {hero}. "Walk behind me, I will keep the wind away."',
        ),
        (
            "The wind pushed them back, but they did not stop.",
            "Snow covered the path, and they went on one step at a time.",
            "The rain was so strong that they could hardly see.",
        ),
        (
            "At last they came to the cave and sat close together to keep warm.",
            "Inside, it was dark but dry. They sat close together and listened to the thunder.",
        ),
        (
            "{helper} told old stories, and {hero} <hummed a song|counted the drops of water>, until they both fell asleep.",
            '"Are you afraid?" asked {helper}. "Not when I am with you," said {hero}.',
            "{hero} gave {helper} half of {his} {food}, and the night was not so long.",
        ),
        (
            "In the morning the sky was <clear and blue|clean and bright>, and the whole puna was white.",
            "When they woke up, the sun was shining on fresh snow.",
        ),
        (
            "They walked home together, and {his} family gave them a warm welcome.",
            '"You were brave," said {helper}. "I was only not alone," said {hero}.',
            "They made the first tracks in the snow, side by side.",
        ),
        (
            "A storm is only half as long when you have a friend.",
            "They have been friends ever since.",
            "",
        ),
    ),
)

RACE = Script(
    "race",
    (
        (
            "{hero} was <fast|the fastest of all>, and {he} told everybody so.",
            '"Nobody is faster than I am," {hero} used to say.',
        ),
        (
            'One day {helper_intro} said, "<Let us race to {place}|I will race you to {place}>."',
            "So the animals made a race from {place2} to {place}, and only {helper_intro} wanted to run against {him}.",
        ),
        (
            '{hero} laughed. "You? You are so slow!"',
            "{hero} laughed so loud that the birds flew up.",
        ),
        (
            'The next morning everybody came to watch. The old owl called, "One, two, three, go!"',
            "On the day of the race all the neighbors stood along the path.",
        ),
        (
            "{hero} ran like the wind and was soon far ahead.",
            "{hero} took the lead at once, and nobody could see {helper} behind {him}.",
        ),
        (
            '"I have time," {he} thought, and {he} stopped to <drink some water|look at {himself} in a pond|sleep a little in the sun>.',
            "Halfway, {he} stopped to tell everybody how fast {he} was.",
        ),
        (
            "But {helper} went on, step by step, and never stopped.",
            "{helper} did not hurry and did not rest.",
        ),
        (
            "When {hero} looked up, {helper} was already at {place}.",
            "{hero} ran as fast as {he} could, but {helper} came in first.",
        ),
        (
            '{hero} was quiet. Then {he} said, "You ran well. I talked too much."',
            '"I was proud and silly," said {hero}. "Will you teach me to be patient?"',
        ),
        (
            "{helper} smiled, and they walked home together.",
            "And from that day on {he} spoke less and laughed more.",
            "Slow and steady feet come far.",
        ),
    ),
)

FEAR = Script(
    "fear",
    (
        (
            "{hero} was afraid of <deep water|the dark|high places|the old bridge>.",
            "There was one thing that {hero} did not like: <the rope bridge near {place}|the dark cave near {place}|the loud river at {place}>.",
        ),
        (
            "All the others <went past it every day|laughed about it>, but {hero} always stayed behind.",
            '"I cannot do it," {he} said every time. "My legs will not go."',
        ),
        (
            "One day {helper_intro} saw {him} standing there alone.",
            "{helper_intro} watched {him} for a while and then came near.",
        ),
        (
            '"I was afraid too, when I was small," said {helper}.',
            '"Being afraid is not bad," said {helper}. "It only means that you must go slowly."',
        ),
        (
            '"Today, only look at it," said {helper}. "Tomorrow, take one step."',
            '"Do not look at all of it," said {helper}. "Look at the next step."',
        ),
        (
            "So {hero} took one step on the first day, two on the second day and three on the third day.",
            "Every morning {hero} tried again, and every morning it was a little easier.",
        ),
        (
            "Then, one evening, {he} heard a cry. A little mouse was in trouble on the other side.",
            "Then came the day of the feast, and everybody was on the other side.",
        ),
        (
            "{his} heart beat like a drum, but {he} went: one step, then another.",
            "{hero} took a deep breath, thought of the next step and began.",
        ),
        (
            "Before {he} knew it, {he} was there.",
            "And then it was done. {he} had been afraid, and {he} had done it all the same.",
        ),
        (
            '"You see?" said {helper}. "The fear is still there, but you are bigger now."',
            "Everybody cheered, and {helper} cheered the loudest.",
        ),
        (
            "Now {hero} helps the little ones who are afraid, one step at a time.",
            "That night {he} told {his} mother all about it, twice.",
            "",
        ),
    ),
)

NEWCOMER = Script(
    "newcomer",
    (
        (
            "One day {helper_intro} came to {place} and knew nobody there.",
            "In spring a stranger came from far away. It was {helper_intro}.",
        ),
        (
            "The others whispered and looked, but nobody said hello.",
            '"We have never seen one like that here," the others said.',
        ),
        (
            "{hero} saw that the stranger sat alone every evening at {place2}.",
            "{hero} remembered how it feels to be new.",
        ),
        (
            'So {he} went over and said, "My name is {hero_name}. <Would you like to play|Shall we look at the stars together|Are you hungry>?"',
            '"Good evening," said {hero}. "May I sit with you?"',
        ),
        (
            '"I would like that," said {helper}. "It is quiet when nobody speaks."',
            "{helper} was so glad that it was hard to find words.",
        ),
        (
            "They talked about <the snow, the stars and the best grass|rivers, winds and far places> until it was late.",
            "{helper} knew songs from far away, and {hero} knew every path of the puna.",
        ),
        (
            "The next day one more came to listen, and then another.",
            "Soon the others came too, because the stories were so good.",
        ),
        (
            "After a week nobody remembered who had been the stranger.",
            "In the end they all sang together, and the newcomer was one of them.",
        ),
        (
            "A friend is somebody who says hello first.",
            '"Thank you for the first hello," said {helper}.',
        ),
    ),
)

THORN = Script(
    "thorn",
    (
        (
            "One hot day {hero} heard somebody crying near {place}.",
            "On the way to {place}, {hero} heard a sad voice.",
        ),
        (
            "It was {helper_intro} with a long thorn in one foot.",
            "There sat {helper_intro}, who had stepped on a thorn and could not walk.",
        ),
        (
            '"Everybody walks past me," said {helper}. "They are all in a hurry."',
            '"Please help me," said {helper}. "It hurts very much."',
        ),
        (
            "{hero} was in a hurry too, because there was a feast that evening. But {he} stopped.",
            "{hero} was a little afraid, but {he} came closer.",
        ),
        (
            '"Look at the clouds and count to ten," said {hero}. And at seven, the thorn was out.',
            "Very gently {hero} pulled the thorn out. It took a long time.",
        ),
        (
            "Then {he} washed the foot with <cold|clean> water and put soft leaves on it.",
            "Then {hero} brought fresh water from {place2} and stayed until the pain was gone.",
        ),
        (
            '"I will not forget this," said {helper}.',
            '"One day I will help you too," said {helper}. {hero} only smiled.',
        ),
        (
            "<Weeks later|When the snow came>, {hero} slipped on the ice and could not get up.",
            "One day in autumn {hero} fell into a deep hole and could not climb out.",
        ),
        (
            "{he} called for help, and who came running? It was {helper}.",
            "Then a face looked down, and it was {helper}, who had not forgotten.",
        ),
        (
            '"Count to ten," said {helper}. And at seven, {hero} was free.',
            "{helper} pulled and pulled until {hero} was safe.",
        ),
        (
            "They laughed all the way home.",
            "Good deeds have long legs: they always find the way back.",
        ),
    ),
)

QUESTION = Script(
    "question",
    (
        (
            "{hero} asked questions from morning to night.",
            'Every day {hero} asked, "Why?"',
        ),
        (
            '"Why is the night dark?" {he} asked one evening. "And where does the sun sleep?"',
            '"Where does the wind come from?" {he} asked one day. "And where does it go?"',
            '"Who lit the stars?" {he} asked one night.',
        ),
        (
            "{his} mother did not know, and the neighbors did not know.",
            "Nobody had an answer, not even the wise old toad.",
        ),
        (
            "So {hero} walked to {place} to ask {helper_intro}, who was said to know everything.",
            "So {he} went on a journey, past {place2}, until {he} met {helper_intro} at {place}.",
        ),
        (
            '{helper} thought for a long time. "I do not know," said {helper} at last.',
            '"That is a good question," said {helper}. "I have asked it too, and I do not know."',
        ),
        (
            "{hero} was surprised. {he} had never heard a wise one say that.",
            '"You do not know?" said {hero}. "But you are so old!"',
        ),
        (
            '"I am wise because I know what I do not know," said {helper}, and they both laughed.',
            '"Let us watch and find out together," said {helper}.',
        ),
        (
            "So they sat side by side and looked at the sky until morning.",
            "They stayed awake all night and watched every star.",
        ),
        (
            "They did not find the answer that night, but they found <three|four|five> new questions.",
            "When the sun came up, red and round, {hero} knew one thing more than before.",
        ),
        (
            "And that is how {hero} began to learn.",
            "{hero} went home happy, with a head full of questions.",
        ),
    ),
)

HERD_PLOTS = (LOST_THING, FOG, SHARING, STORM, RACE, FEAR, NEWCOMER, THORN, QUESTION)
