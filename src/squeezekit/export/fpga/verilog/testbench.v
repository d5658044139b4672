// Gives pictures to the classifier, with pauses on both sides, and prints logits and cycles.
//
// pictures.hex holds the bytes of the pictures, two digits each. Arguments: +pictures=FILE, +stall=P (each side pauses in P of
// 256 cycles, P below 256), +seed=N, +limit=N (cycles after which it gives up), +again=N (in cycle N it resets the classifier and
// begins anew with the first picture), +busy=N (a line every N cycles: in how many of them each step multiplied). A line for each
// picture: its logits, then the cycles at which its first byte was taken and its last logit left.
`ifdef VERILATOR
`define FAIL $fatal
`else
`define FAIL $finish_and_return(1)
`endif
module testbench;
    parameter BYTES = 1;
    localparam MOST = 4096;  // Pictures that are under way at once, at most.
    reg clock = 0, reset = 1, over = 0;
    reg picture_valid = 0, logit_ready = 0;
    reg [7:0] picture_data = 0;
    wire picture_ready, logit_valid, logit_last;
    wire signed [31:0] logit_data;
    reg [8*256-1:0] name, word;
    reg [63:0] began [0:MOST-1];
    reg [63:0] cycle = 0, limit = 0, again = 0;
    reg [31:0] noise = 1;  // A linear congruential generator, whose upper bits serve.
    integer file, found, every = 0, stall = 0, sent = 0, taken = 0, answered = 0;

    classifier dut (
        .clock(clock), .reset(reset),
        .picture_valid(picture_valid), .picture_ready(picture_ready), .picture_data(picture_data),
        .logit_valid(logit_valid), .logit_ready(logit_ready), .logit_data(logit_data), .logit_last(logit_last));

    always #5 clock = !clock;

    initial begin
        name = "pictures.hex";
        found = $value$plusargs("pictures=%s", name);
        found = $value$plusargs("stall=%d", stall);
        found = $value$plusargs("seed=%d", noise);
        found = $value$plusargs("limit=%d", limit);
        found = $value$plusargs("again=%d", again);
        found = $value$plusargs("busy=%d", every);
        if (stall < 0 || stall > 255) begin
            $display("+stall=%0d: give 0 to 255", stall);
            `FAIL;
        end
        // The memories.
        file = $fopen(name, "r");
        if (file == 0) begin
            $display("%0s cannot be opened: write the bytes of pictures there, two hexadecimal digits each", name);
            `FAIL;
        end
    end

    // A memory of the circuit has so many words.
    task need(input [8*32-1:0] memory, input integer words);
        integer there, letter, previous;
        begin
            there = 0;
            previous = 0;
            file = $fopen(memory, "r");
            if (file == 0) begin
                $display("no %0s here: run it in the folder that holds the circuit", memory);
                `FAIL;
            end else begin
                for (letter = $fgetc(file); letter != -1; letter = $fgetc(file)) begin
                    if (letter > 32 && previous <= 32) there = there + 1;
                    previous = letter;
                end
                $fclose(file);
                if (there != words) begin
                    $display("%0s has %0d words where the circuit needs %0d: export it again", memory, there, words);
                    `FAIL;
                end
            end
        end
    endtask

    function is_digit(input [7:0] c);
        is_digit = (c >= "0" && c <= "9") || (c >= "a" && c <= "f") || (c >= "A" && c <= "F");
    endfunction

    // Letters have 1 to 6 in their lower four bits, and the bit above.
    function [3:0] digit(input [7:0] c);
        digit = c[3:0] + (c[6] ? 4'd9 : 4'd0);
    endfunction

    task read_byte;
        begin
            found = $fscanf(file, "%s", word);
            over = found != 1;
            picture_valid <= !over;
            picture_data <= {digit(word[15:8]), digit(word[7:0])};
            if (over) begin
                if (sent == 0 || sent % BYTES != 0) begin
                    $display("%0s holds %0d bytes: give pictures of %0d bytes each", name, sent, BYTES);
                    `FAIL;
                end
            end else if (word[8*256-1:16] != 0 || !is_digit(word[15:8]) || !is_digit(word[7:0])) begin
                $display("%0s, byte %0d: '%0s' is not two hexadecimal digits", name, sent + 1, word);
                `FAIL;
            end else sent = sent + 1;
        end
    endtask

    always @(posedge clock) begin
        cycle <= cycle + 1;
        reset <= cycle < 4;
        if (!reset) begin
            noise = noise * 1664525 + 1013904223;
            if (picture_valid && picture_ready) begin
                if (taken % BYTES == 0) began[(taken / BYTES) % MOST] <= cycle;
                taken = taken + 1;
            end
            if (!picture_valid || picture_ready) begin
                picture_valid <= 0;
                if (!over && noise[31:24] >= stall) read_byte;
            end
            if (logit_valid && logit_ready) begin
                if (^logit_data === 1'bx) begin
                    $display("a logit that is no number: a memory holds words that are none; export it again");
                    `FAIL;
                end
                $write("%0d ", logit_data);
                if (logit_last) begin
                    $write("@ %0d %0d\n", began[answered % MOST], cycle);
                    answered = answered + 1;
                end
            end
            logit_ready <= noise[23:16] >= stall;
            if (over && answered >= sent / BYTES) $finish;
            if (limit != 0 && cycle > limit) begin
                $display("no answer after %0d cycles", cycle);
                `FAIL;
            end
            if (again != 0 && cycle == again) begin
                reset <= 1;
                picture_valid <= 0;
                found = $rewind(file);
                sent = 0;
                taken = 0;
                answered = 0;
                over = 0;
                $display("again");
            end
        end
    end

    // The steps' multipliers.
endmodule
